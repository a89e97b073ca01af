cwlVersion: v1.2
class: Operation
doc: Make a reference sequence that depends on its accession only.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: fetch-reference

inputs:
  accession: string
  length: int

outputs:
  sequence: string
