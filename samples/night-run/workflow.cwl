cwlVersion: v1.2
class: Workflow
doc: What a tide service does at night - read three gauges, work out the tide, draw it, and put it away.

$namespaces:
  caroni: "urn:caroni:cwl:"

hints:
  caroni:CaroniRequirement:
    maxAttempts: 3
    backoff: 2s
    nonRetryableExitCodes: [64]

inputs:
  night: string
  harbour_a: string
  harbour_b: string
  harbour_c: string
  pace:
    type: int
    doc: Milliseconds between two readings; a thousand and more makes it a night to watch.
    default: 20

outputs:
  bulletin:
    type: string
    outputSource: bulletin/bulletin
  receipt:
    type: string
    outputSource: archive/receipt

steps:
  relay:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: call-relay}
    run:
      class: Operation
      inputs: {night: string}
      outputs: {channel: int}
    in: {night: night}
    out: [channel]

  read_a:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: read-gauge}
    run: &read
      class: Operation
      inputs: {harbour: string, channel: int, pace: int}
      outputs: {readings: string}
    in: {harbour: harbour_a, channel: relay/channel, pace: pace}
    out: [readings]

  read_b:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: read-gauge}
    run: *read
    in: {harbour: harbour_b, channel: relay/channel, pace: pace}
    out: [readings]

  read_c:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: read-gauge}
    run: *read
    in: {harbour: harbour_c, channel: relay/channel, pace: pace}
    out: [readings]

  clean_a:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: clean-readings}
    run: &clean
      class: Operation
      inputs: {readings: string}
      outputs: {levels: string, dropped: int}
    in: {readings: read_a/readings}
    out: [levels, dropped]

  clean_b:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: clean-readings}
    run: *clean
    in: {readings: read_b/readings}
    out: [levels, dropped]

  clean_c:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: clean-readings}
    run: *clean
    in: {readings: read_c/readings}
    out: [levels, dropped]

  tide:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: fit-tide}
    run:
      class: Operation
      inputs: {levels_a: string, levels_b: string, levels_c: string, pace: int}
      outputs: {table: string, high_water: int}
    in:
      levels_a: clean_a/levels
      levels_b: clean_b/levels
      levels_c: clean_c/levels
      pace: pace
    out: [table, high_water]

  chart:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: draw-chart}
    run:
      class: Operation
      inputs: {table: string}
      outputs: {chart: string}
    in: {table: tide/table}
    out: [chart]

  bulletin:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: print-bulletin}
    run:
      class: Operation
      inputs: {night: string, chart: string, high_water: int, dropped_a: int, dropped_b: int, dropped_c: int}
      outputs: {bulletin: string}
    in:
      night: night
      chart: chart/chart
      high_water: tide/high_water
      dropped_a: clean_a/dropped
      dropped_b: clean_b/dropped
      dropped_c: clean_c/dropped
    out: [bulletin]

  archive:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: archive-table}
    run:
      class: Operation
      inputs: {night: string, table: string}
      outputs: {receipt: string}
    in: {night: night, table: tide/table}
    out: [receipt]
