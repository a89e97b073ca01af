cwlVersion: v1.2
class: Operation
doc: List the first line of every hundred bases in sorted alignments.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: index-alignments

inputs:
  sorted: string

outputs:
  index: string
