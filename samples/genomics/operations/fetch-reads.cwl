cwlVersion: v1.2
class: Operation
doc: Make the reads of a sample, with the differences that make it a sample.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: fetch-reads

inputs:
  sample: string
  sequence: string
  depth: int

outputs:
  reads: string
