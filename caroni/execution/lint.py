"""Traps for a script whose inputs come from somebody else.

An input's value is data for as long as bash does not evaluate it once more. Arithmetic does:
``[[ "$CARONI_INPUT_n" -eq 1 ]]`` runs the command in the value ``a[$(command)]``, however it is quoted.
A type of ``int`` or an enum keeps such values out; these checks find where text may get in.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from caroni.core.plan import MINUTE
from caroni.execution.definition import JobDefinition


class Warning(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. ``line`` counts from 1 within the script; 0: it is about the definition itself."""

    line: int
    rule: str
    text: str


#: a manager asks after a job that is silent at least every ten minutes (``ManagerSettings.poll_cap``)
QUIET_MANAGER = 15 * MINUTE
_VARIABLE = r"\$\{?CARONI_(?:INPUT|ENV)_(\w+)"
_NAME = r"CARONI_(?:INPUT|ENV)_(\w+)"
_ANY = re.compile(_NAME)
_COPY = re.compile(r"(?<![\w$])(\w+)=\"?" + _VARIABLE)
#: rule, pattern of the construct, advice; the construct is a finding if an input's name is inside of it
_EVALUATING: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "arithmetic-test",
        re.compile(r"\[\[[^\n]*?\s-(?:eq|ne|lt|le|gt|ge)\s[^\n]*?\]\]"),
        "[[ ... -eq ... ]] evaluates its operands: declare the input as int, or compare with [ ... = ... ]",
    ),
    (
        "arithmetic",
        re.compile(r"\$?\(\([^\n]*?\)\)"),
        "$(( )) evaluates names and array subscripts: declare the input as int",
    ),
    ("let", re.compile(r"(?:^|[;&|\s])let\s[^\n;]*"), "let evaluates its operands: declare the input as int"),
    ("eval", re.compile(r"(?:^|[;&|\s(])eval\s[^\n]*"), "eval runs the value as a command: call it directly"),
    (
        "declare-integer",
        re.compile(r"(?:declare|typeset|local|readonly)\s+-\w*i\w*\s[^\n;]*"),
        "declare -i evaluates the value: declare the input as int",
    ),
    (
        "test-v",
        re.compile(r"(?:\btest|\[\[?)\s[^\n]*?-[vR]\s[^\n\]]*"),
        "-v evaluates array subscripts in the value: use ${name+set}",
    ),
    (
        "shell-c",
        re.compile(r"\b(?:ba|da|z|k)?sh\s+(?:-\w+\s+)*-\w*c\s[^\n]*"),
        "sh -c runs the value as a command: pass it as an argument after the command text",
    ),
    (
        "interpreter",
        re.compile(r"\b(?:python3?|perl|ruby|node|awk|psql|sqlite3)\s[^\n]*?-[ec]\s+\"[^\n]*"),
        "the value becomes part of a program: read it from the environment or from inputs.json there",
    ),
    (
        "printf-format",
        re.compile(r"\bprintf\s+(?:-v\s+\w+\s+)?\"?\$[^\n\s]*"),
        "the value is used as a format: write printf '%s' \"$name\"",
    ),
    (
        "indirect",
        re.compile(r"\$\{!" + _NAME + r"[^}]*\}"),
        "indirect expansion evaluates the value as a name: use a case statement",
    ),
    (
        "subscript",
        re.compile(r"\w\[[^\n\]]*\$\{?" + _NAME + r"[^\n\]]*\]"),
        "an array subscript is evaluated: declare the input as int, or use an associative array with care",
    ),
)
_SAFE = frozenset({"int", "long", "float", "double", "boolean", "null"})


def lint(definition: JobDefinition) -> list[Warning]:
    """Findings in a definition and its script, by line. No finding is no proof of safety."""
    findings = [] if definition.stop_after == 0 else _lint_contact(definition)
    return findings + (_lint_script(definition) if definition.script else _lint_command(definition))


def _lint_contact(definition: JobDefinition) -> list[Warning]:
    if definition.stop_after >= QUIET_MANAGER:
        return []
    text = (
        "on_lost_contact: a manager that is well may be silent for 10 minutes: with stop_after below"
        " 15m jobs are stopped for nothing"
    )
    return [Warning(line=0, rule="impatient", text=text)]


def _lint_script(definition: JobDefinition) -> list[Warning]:
    text = {name for name, type_ in definition.inputs.items() if not _is_safe(type_)}
    findings: list[Warning] = []
    #: variables that hold a copy of an input, as far as plain assignments tell
    aliases: dict[str, str] = {}
    for number, raw in enumerate(definition.script.split("\n"), 1):
        line = _without_comment(raw)
        for alias, name in aliases.items():
            line = re.sub(rf"(?<![\w-]){alias}(?![\w-])", f"CARONI_INPUT_{name}", line)
        for alias, name in _COPY.findall(line):
            if not alias.startswith("CARONI_"):
                aliases[alias] = name
        if not _ANY.search(line):
            continue
        for rule, pattern, advice in _EVALUATING:
            for construct in pattern.finditer(line):
                names = [n for n in _ANY.findall(construct[0]) if n in text or n not in definition.inputs]
                if names:
                    findings.append(Warning(line=number, rule=rule, text=f"input {names[0]!r}: {advice}"))
                    break
        for name in _unquoted(line):
            if name in text or name not in definition.inputs:
                advice = 'splits into words and file names, and may begin with "-": write "$..." with quotes'
                findings.append(
                    Warning(line=number, rule="unquoted", text=f"input {name!r}: unquoted, {advice}")
                )
                break
    return findings


def _lint_command(definition: JobDefinition) -> list[Warning]:
    words = definition.command
    shells = ("sh", "bash", "dash", "ksh", "zsh")
    if words and words[0].rsplit("/", 1)[-1] in shells and any(re.fullmatch(r"-\w*c", w) for w in words[1:]):
        return _lint_script(msgspec.structs.replace(definition, command=(), script=words[-1]))
    return []


def _is_safe(type_: Any) -> bool:
    """Whether no value of the type can hold text that bash would evaluate."""
    if isinstance(type_, str):
        return type_ in _SAFE
    if isinstance(type_, list):
        return all(_is_safe(member) for member in type_)
    if type_.get("type") == "enum":
        return all(re.fullmatch(r"[A-Za-z0-9_.-]*", symbol) for symbol in type_["symbols"])
    return False


def _without_comment(line: str) -> str:
    """The line up to a ``#`` that begins a word outside of quotes."""
    quote = ""
    for index, char in enumerate(line):
        if quote:
            if char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "#" and (index == 0 or line[index - 1] in " \t;"):
            return line[:index]
    return line


def _unquoted(line: str) -> list[str]:
    """Inputs that are expanded outside of double quotes, where bash splits words.

    Assignments (``x=$name``), ``[[ ]]`` and ``case $name in`` do not split.
    """
    found = []
    quote = ""
    index = 0
    while index < len(line):
        char = line[index]
        if quote == "'":
            if char == "'":
                quote = ""
        elif char == "\\":
            index += 1
        elif char == '"':
            quote = "" if quote else char
        elif char == "'" and not quote:
            quote = char
        elif char == "$" and not quote and (match := re.match(_VARIABLE, line[index:])):
            before = line[:index]
            assigned = re.search(r"(?:^|[;&|\s])\w+\+?=[^\s;]*$", before)
            test = before.rfind("[[") > before.rfind("]]")
            if not assigned and not test and not re.search(r"\bcase\s+$", before) and "<<<" not in before:
                found.append(match[1])
        index += 1
    return found
