cwlVersion: v1.2
class: Workflow
doc: One job feeds two that run side by side; a fourth waits for both.

$namespaces:
  caroni: "urn:caroni:cwl:"

inputs:
  text: string

outputs:
  summary:
    type: string
    outputSource: join/summary
  letters_per_word:
    type: double
    outputSource: join/letters_per_word
  original:
    type: string
    outputSource: text

steps:
  tidy:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: tidy}
    run:
      class: Operation
      inputs: {text: string}
      outputs: {tidied: string}
    in: {text: text}
    out: [tidied]

  words:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: count-words}
    run:
      class: Operation
      inputs: {text: string}
      outputs: {words: int}
    in: {text: tidy/tidied}
    out: [words]

  letters:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: count-letters}
    run:
      class: Operation
      inputs: {text: string}
      outputs: {letters: int}
    in: {text: tidy/tidied}
    out: [letters]

  join:
    hints:
      caroni:CaroniRequirement: {CaroniJobName: join-counts}
    run:
      class: Operation
      inputs: {words: int, letters: int}
      outputs: {summary: string, letters_per_word: double}
    in: {words: words/words, letters: letters/letters}
    out: [summary, letters_per_word]
