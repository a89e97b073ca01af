cwlVersion: v1.2
class: Operation
doc: Write the report, and put the quality of all samples together.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    CaroniJobName: write-report

inputs:
  accession: string
  annotated: string
  dropped: int
  quality_a:
    type: {type: record, fields: {reads: int, bases: int, gc: double}}
  quality_b:
    type: {type: record, fields: {reads: int, bases: int, gc: double}}
  quality_c:
    type: {type: record, fields: {reads: int, bases: int, gc: double}}
  depth_a: double
  depth_b: double
  depth_c: double
  count_a: int
  count_b: int
  count_c: int

outputs:
  report: string
  quality:
    type: {type: array, items: {type: record, fields: {reads: int, bases: int, gc: double}}}
  variants:
    type: {type: array, items: int}
