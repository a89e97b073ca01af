cwlVersion: v1.2
class: Operation
doc: Count reads and bases of a sample, and the share of G and C.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: quality-check

inputs:
  reads: string

outputs:
  quality:
    type: {type: record, fields: {reads: int, bases: int, gc: double}}
