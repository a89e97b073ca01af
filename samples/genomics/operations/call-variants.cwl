cwlVersion: v1.2
class: Operation
doc: List the bases at which most alignments differ from the reference.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: call-variants

inputs:
  sample: string
  sorted: string
  sequence: string

outputs:
  variants: string
  count: int
