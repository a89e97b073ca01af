cwlVersion: v1.2
class: Operation
doc: Find the place of every read by its first word that the index knows.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: align-reads

inputs:
  reads: string
  index: string
  sequence: string

outputs:
  alignments: string
