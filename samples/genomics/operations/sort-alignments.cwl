cwlVersion: v1.2
class: Operation
doc: Sort alignments by their place.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: sort-alignments

inputs:
  alignments: string

outputs:
  sorted: string
