cwlVersion: v1.2
class: Operation
doc: Keep the variants that enough alignments speak for.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: filter-variants

inputs:
  merged: string
  minimum_depth: int

outputs:
  kept: string
  dropped: int
