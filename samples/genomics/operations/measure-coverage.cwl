cwlVersion: v1.2
class: Operation
doc: Measure how many alignments lie over a base, on average.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: measure-coverage

inputs:
  sorted: string
  index: string
  sequence: string

outputs:
  depth: double
  bins: int
