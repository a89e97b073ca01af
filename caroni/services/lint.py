"""Ways in which a job's script lets its inputs become code, or several words: ``caroni job lint``.

Inputs come from other sites. Bash evaluates text in arithmetic: with ``X='a[$(command)]'`` the command
runs in ``[[ $X -eq 1 ]]``, ``$(( X ))``, ``declare -i`` and ``test -v``, quoted or not (security chapter,
3). This reads scripts the way people do, line by line; what it does not see is not proven safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from caroni.execution.definition import JobDefinition

_EXPANSION = re.compile(r"\$(?:\{[#!]?([A-Za-z_]\w*)[^}]*\}|([A-Za-z_]\w*))")
_ASSIGNED = re.compile(
    r"^\s*(?:export\s+|local\s+|readonly\s+|declare\s+(?:-[a-zA-Z]+\s+)*)?([A-Za-z_]\w*)=(.*)$"
)
_READ = re.compile(r"\bread\s+(?:-\w+\s+)*((?:[A-Za-z_]\w*\s*)+)")
_COMPARES = re.compile(r"\[\[.*\s-(?:eq|ne|lt|le|gt|ge)\s.*\]\]")
_ARITHMETIC = re.compile(r"\$?\(\((.*?)\)\)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_EVALUATES = re.compile(r"(?:^|[;&|({]\s*|\s)(eval|let|source|\.)\s+(.*)$")
_INTEGER = re.compile(r"\b(?:declare|typeset|local)\s+-\w*i")
_TESTS_NAME = re.compile(r"(?:\btest|\[\[?)\s+-v\s+(\S+)")
_SHELL = re.compile(r"\b(?:ba|da|z|k)?sh\s+-\w*c\s+(.*)$")


class Warning(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a line of the script (from 1)."""

    line: int
    rule: str
    text: str


def lint(definition: JobDefinition) -> list[Warning]:
    """Look at a definition's script; one that runs a program without a shell has nothing to look at."""
    if not definition.script:
        return []
    found: list[Warning] = []
    tainted = {f"{p}{n}" for n in definition.inputs for p in ("CARONI_ENV_", "CARONI_INPUT_")}
    for number, line in _lines(definition.script):
        if (match := _ASSIGNED.match(line)) and _names(match[2]) & tainted:
            tainted.add(match[1])
        if match := _READ.search(line):
            tainted.update(match[1].split())
        for rule, text in _line(line, tainted):
            found.append(Warning(line=number, rule=rule, text=text))
    return found


def _lines(script: str) -> Iterator[tuple[int, str]]:
    """Lines of commands without comments; the text of here-documents is left out."""
    end = ""
    for number, line in enumerate(script.splitlines(), start=1):
        if end:
            if line.strip() == end:
                end = ""
            continue
        if match := re.search(r"<<-?\s*['\"]?(\w+)['\"]?", line):
            end = match[1]
        code = _without_comment(line)
        if code.strip():
            yield number, code


def _without_comment(line: str) -> str:
    quote = ""
    for index, char in enumerate(line):
        if quote:
            quote = "" if char == quote and line[index - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (index == 0 or line[index - 1] in " \t;"):
            return line[:index]
    return line


def _names(text: str) -> set[str]:
    return {a or b for a, b in _EXPANSION.findall(text)}


def _line(line: str, tainted: set[str]) -> Iterator[tuple[str, str]]:
    if (match := _EVALUATES.search(line)) and (match[1] == "eval" or _names(match[2]) & tainted):
        yield "evaluated", f"{match[1]} runs text as code: pass values as arguments instead"
    if (match := _SHELL.search(line)) and _names(match[1]) & tainted:
        yield "evaluated", "an input inside the text of sh -c is code: pass it as an argument after the text"
    if _INTEGER.search(line):
        yield "arithmetic", "declare -i evaluates what is assigned: check the value with a pattern instead"
    if (match := _COMPARES.search(line)) and _names(match[0]) & tainted:
        yield "arithmetic", "[[ -eq ]] evaluates its operands: use [ ... -eq ... ], which takes numbers only"
    for match in _ARITHMETIC.finditer(line):
        words = set(_WORD.findall(match[1])) & tainted
        if words:
            name = sorted(words)[0]
            yield (
                "arithmetic",
                f"(( )) evaluates {name}: first check that it is a number, for example with case",
            )
    if (match := _TESTS_NAME.search(line)) and _names(match[1]) & tainted:
        yield "arithmetic", "-v evaluates an index in the name: do not take names from inputs"
    if not line.lstrip().startswith("[["):
        for name in _unquoted(line):
            if name in tainted:
                yield (
                    "unquoted",
                    f'${name} without quotes becomes several words and file names: write "${name}"',
                )


def _unquoted(line: str) -> Iterator[str]:
    """Names that are expanded outside of quotes, where bash splits and globs."""
    quote, index = "", 0
    while index < len(line):
        char = line[index]
        if char == "\\" and quote != "'":
            index += 2
            continue
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        elif char == "$" and not quote and (match := _EXPANSION.match(line, index)):
            before = line[:index]
            if not re.search(r"(?:^|[\s;&|(])[A-Za-z_]\w*=\S*$", before) and "((" not in before:
                yield match[1] or match[2]
            index = match.end()
            continue
        index += 1
    return
