cwlVersion: v1.2
class: Operation
doc: Say of every variant in which gene it lies.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: annotate-variants

inputs:
  kept: string
  genes:
    type: {type: array, items: string}

outputs:
  annotated: string
