cwlVersion: v1.2
class: Workflow
doc: |
  From the reads of three samples to a report of where they differ from a reference: thirty jobs on two
  agents. The data are made up and small, the shape is that of a real pipeline.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    maxAttempts: 3
    backoff: 1s
    lostAfter: 10m

inputs:
  accession:
    type: string
    doc: Name of the reference; the same name gives the same sequence.
  reference_length:
    type: int
    default: 400
  sample_a: string
  sample_b: string
  sample_c: string
  depth:
    type: int
    default: 8
    doc: Reads over each base, on average.
  trim:
    type: int?
    doc: Bases to cut from both ends of a read; without it 2.
  minimum_depth:
    type: int
    default: 3
  genes:
    type: string[]
    default: [BRCA1, TP53, EGFR]

outputs:
  report:
    type: string
    outputSource: report/report
  quality:
    type:
      type: array
      items: {type: record, fields: {reads: int, bases: int, gc: double}}
    outputSource: report/quality
  variants:
    type: int[]
    outputSource: report/variants
  annotated:
    type: string
    outputSource: annotate/annotated

steps:
  fetch_reference:
    run: operations/fetch-reference.cwl
    in:
      accession: accession
      length: reference_length
    out: [sequence]

  index_reference:
    run: operations/index-reference.cwl
    in:
      sequence: fetch_reference/sequence
    out: [index]

  # --- sample a ---

  fetch_a:
    run: operations/fetch-reads.cwl
    in:
      sample: sample_a
      sequence: fetch_reference/sequence
      depth: depth
    out: [reads]

  qc_a:
    run: operations/quality-check.cwl
    in:
      reads: fetch_a/reads
    out: [quality]

  trim_a:
    run: operations/trim-reads.cwl
    in:
      reads: fetch_a/reads
      bases: {source: trim, default: 2}
    out: [trimmed]

  align_a:
    run: operations/align-reads.cwl
    in:
      reads: trim_a/trimmed
      index: index_reference/index
      sequence: fetch_reference/sequence
    out: [alignments]

  sort_a:
    run: operations/sort-alignments.cwl
    in:
      alignments: align_a/alignments
    out: [sorted]

  index_a:
    run: operations/index-alignments.cwl
    in:
      sorted: sort_a/sorted
    out: [index]

  coverage_a:
    run: operations/measure-coverage.cwl
    in:
      sorted: sort_a/sorted
      index: index_a/index
      sequence: fetch_reference/sequence
    out: [depth, bins]

  call_a:
    run: operations/call-variants.cwl
    in:
      sample: sample_a
      sorted: sort_a/sorted
      sequence: fetch_reference/sequence
    out: [variants, count]

  # --- sample b ---

  fetch_b:
    run: operations/fetch-reads.cwl
    in:
      sample: sample_b
      sequence: fetch_reference/sequence
      depth: depth
    out: [reads]

  qc_b:
    run: operations/quality-check.cwl
    in:
      reads: fetch_b/reads
    out: [quality]

  trim_b:
    run: operations/trim-reads.cwl
    in:
      reads: fetch_b/reads
      bases: {source: trim, default: 2}
    out: [trimmed]

  align_b:
    run: operations/align-reads.cwl
    in:
      reads: trim_b/trimmed
      index: index_reference/index
      sequence: fetch_reference/sequence
    out: [alignments]

  sort_b:
    run: operations/sort-alignments.cwl
    in:
      alignments: align_b/alignments
    out: [sorted]

  index_b:
    run: operations/index-alignments.cwl
    in:
      sorted: sort_b/sorted
    out: [index]

  coverage_b:
    run: operations/measure-coverage.cwl
    in:
      sorted: sort_b/sorted
      index: index_b/index
      sequence: fetch_reference/sequence
    out: [depth, bins]

  call_b:
    run: operations/call-variants.cwl
    in:
      sample: sample_b
      sorted: sort_b/sorted
      sequence: fetch_reference/sequence
    out: [variants, count]

  # --- sample c ---

  fetch_c:
    run: operations/fetch-reads.cwl
    in:
      sample: sample_c
      sequence: fetch_reference/sequence
      depth: depth
    out: [reads]

  qc_c:
    run: operations/quality-check.cwl
    in:
      reads: fetch_c/reads
    out: [quality]

  trim_c:
    run: operations/trim-reads.cwl
    in:
      reads: fetch_c/reads
      bases: {source: trim, default: 2}
    out: [trimmed]

  align_c:
    run: operations/align-reads.cwl
    in:
      reads: trim_c/trimmed
      index: index_reference/index
      sequence: fetch_reference/sequence
    out: [alignments]

  sort_c:
    run: operations/sort-alignments.cwl
    in:
      alignments: align_c/alignments
    out: [sorted]

  index_c:
    run: operations/index-alignments.cwl
    in:
      sorted: sort_c/sorted
    out: [index]

  coverage_c:
    run: operations/measure-coverage.cwl
    in:
      sorted: sort_c/sorted
      index: index_c/index
      sequence: fetch_reference/sequence
    out: [depth, bins]

  call_c:
    run: operations/call-variants.cwl
    in:
      sample: sample_c
      sorted: sort_c/sorted
      sequence: fetch_reference/sequence
    out: [variants, count]

  # --- all samples ---

  merge:
    run: operations/merge-variants.cwl
    in:
      variants_a: call_a/variants
      variants_b: call_b/variants
      variants_c: call_c/variants
    out: [merged]

  filter:
    run: operations/filter-variants.cwl
    in:
      merged: merge/merged
      minimum_depth: minimum_depth
    out: [kept, dropped]

  annotate:
    run: operations/annotate-variants.cwl
    in:
      kept: filter/kept
      genes: genes
    out: [annotated]

  report:
    run: operations/write-report.cwl
    in:
      accession: accession
      annotated: annotate/annotated
      dropped: filter/dropped
      quality_a: qc_a/quality
      quality_b: qc_b/quality
      quality_c: qc_c/quality
      depth_a: coverage_a/depth
      depth_b: coverage_b/depth
      depth_c: coverage_c/depth
      count_a: call_a/count
      count_b: call_b/count
      count_c: call_c/count
    out: [report, quality, variants]
