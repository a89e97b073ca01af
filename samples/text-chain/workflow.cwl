cwlVersion: v1.2
class: Workflow
doc: Three text jobs in a row, on two agents.

$namespaces:
  caroni: "urn:caroni:cwl:"

inputs:
  message:
    type: string
    doc: The text to work on.
  prefix:
    type: string
    default: "prepend "

outputs:
  final_text:
    type: string
    outputSource: append/suffixed

steps:
  upper:
    hints:
      caroni:CaroniRequirement:
        CaroniJobName: upper-case
    run:
      class: Operation
      inputs:
        message: string
      outputs:
        shouted: string
    in:
      message: message
    out: [shouted]

  prepend:
    hints:
      caroni:CaroniRequirement:
        CaroniJobName: prepend
    run:
      class: Operation
      inputs:
        text: string
        prefix: string
      outputs:
        prefixed: string
    in:
      text: upper/shouted
      prefix: prefix
    out: [prefixed]

  append:
    hints:
      caroni:CaroniRequirement:
        CaroniJobName: append
    run:
      class: Operation
      inputs:
        text: string
        suffix: string
      outputs:
        suffixed: string
    in:
      text: prepend/prefixed
      suffix:
        default: " append"
    out: [suffixed]
