cwlVersion: v1.2
class: Operation
doc: Cut bases from both ends of every read.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: trim-reads

inputs:
  reads: string
  bases: int

outputs:
  trimmed: string
