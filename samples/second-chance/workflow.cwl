cwlVersion: v1.2
class: Workflow
doc: A job that fails on one agent is fulfilled again by another.

$namespaces:
  caroni: "urn:caroni:cwl:"

# holds for every step; a step or what it runs may say otherwise, field by field
hints:
  caroni:CaroniRequirement:
    maxAttempts: 4
    backoff: 0s

inputs:
  island: string

outputs:
  announcement:
    type: string
    outputSource: announce/announcement

steps:
  forecast:
    hints:
      caroni:CaroniRequirement:
        CaroniJobName: forecast
        nonRetryableExitCodes: [64]
    run:
      class: Operation
      inputs: {island: string}
      outputs: {forecast: string}
    in: {island: island}
    out: [forecast]

  announce:
    hints:
      caroni:CaroniRequirement:
        CaroniJobName: announce
    run:
      class: Operation
      inputs: {forecast: string}
      outputs: {announcement: string}
    in: {forecast: forecast/forecast}
    out: [announcement]
