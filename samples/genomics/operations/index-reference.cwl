cwlVersion: v1.2
class: Operation
doc: List where each word of eight bases starts in a sequence.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: index-reference

inputs:
  sequence: string

outputs:
  index: string
