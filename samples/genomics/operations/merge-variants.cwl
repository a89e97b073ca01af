cwlVersion: v1.2
class: Operation
doc: Put the variants of three samples together, by place.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: merge-variants

inputs:
  variants_a: string
  variants_b: string
  variants_c: string

outputs:
  merged: string
