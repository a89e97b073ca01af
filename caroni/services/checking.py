"""What is wrong with a text that is being written, all at once: nothing is opened, fetched or kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import msgspec
import yaml

from caroni.cwl import Bundle
from caroni.errors import DocumentError, UnsupportedFeature
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.core.plan import Plan
    from caroni.execution.definition import JobDefinition

#: findings that are kept of one text
LIMIT = 200


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to say about a text. ``line`` and ``column`` count from 1; 0 means the whole of it.

    ``file`` is the document of a bundle, ``rule`` the name of a rule of the linter, ``script_line`` the line
    within a job definition's script. An error stops the text from being kept, a warning does not.
    """

    line: int
    column: int
    severity: Literal["error", "warning"]
    message: str
    file: str = ""
    rule: str = ""
    script_line: int = 0


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a workflow's documents; ``plan`` is its graph as far as it is right."""

    findings: list[Finding]
    plan: Plan | None

    @property
    def errors(self) -> int:
        """How many findings stop it from being kept."""
        return sum(finding.severity == "error" for finding in self.findings)


class CheckedDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a job definition; ``definition`` is None if there are errors."""

    findings: list[Finding]
    definition: JobDefinition | None

    @property
    def errors(self) -> int:
        """How many findings stop it from being kept."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_template(text: str, name: str = "workflow.cwl") -> list[Finding]:
    """Everything that can be told about one CWL document."""
    return check_documents(Bundle.from_text(text, name)).findings


def check_documents(bundle: Bundle) -> Checked:
    """Everything that can be told about the documents of a workflow; names outside of them lead nowhere."""
    from caroni.cwl import inspect

    found = inspect(bundle)
    findings = _unique([_of_error(fault) for fault in found.faults])
    findings += [_of_error(advice, "warning") for advice in found.advice]
    return Checked(findings=findings[:LIMIT], plan=found.plan)


def step_place(bundle: Bundle, step: str) -> tuple[int, int]:
    """Line and column of a step in the main document; (0, 0) if it cannot be told."""
    from caroni.cwl.places import Places

    try:
        places = Places(bundle.documents)
        # in a packed document the workflow is the one that has such a step
        graph = places.tree(bundle.main).get("$graph")
        ways = [("$graph", n, "steps", step) for n, _ in enumerate(graph)] if graph else [("steps", step)]
        return max((places.find(bundle.main, way) for way in ways), default=(0, 0))
    except (DocumentError, AttributeError):
        return 0, 0


def _of_error(error: DocumentError, severity: Literal["error", "warning"] = "error") -> Finding:
    return Finding(
        line=error.line,
        column=error.column,
        severity=severity,
        message=safe_line(error.message, 500),
        file=error.file,
        rule="unsupported" if isinstance(error, UnsupportedFeature) else "",
    )


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))


def check_definition(text: str) -> CheckedDefinition:
    """Everything that can be told about a job definition: faults, the script's grammar, the linter's traps.

    Starts bash to read the script (it runs nothing of it).
    """
    from caroni.execution.definition import inspect_definition

    definition, faults = inspect_definition(text)
    if definition is None:
        return CheckedDefinition(findings=[_of_error(fault) for fault in faults][:LIMIT], definition=None)
    findings = look_over(definition, text)
    broken = any(finding.severity == "error" for finding in findings)
    return CheckedDefinition(findings=findings[:LIMIT], definition=None if broken else definition)


def look_over(definition: JobDefinition, text: str = "") -> list[Finding]:
    """The grammar of a definition's script and the linter's findings, by line of ``text`` if it is given."""
    from caroni.execution.bashsyntax import bash_faults
    from caroni.execution.lint import lint

    place = _script_place(text) if text and definition.script else None
    findings = []
    for fault in bash_faults(definition.script) if definition.script else ():
        # a script that an older version has kept must stay readable: only fatal faults are errors
        severity: Literal["error", "warning"] = "error" if fault.fatal else "warning"
        findings.append(_in_script(place, fault.line, severity, f"bash: {fault.text}", "syntax"))
    for warning in lint(definition):
        if warning.line:
            findings.append(_in_script(place, warning.line, "warning", warning.text, warning.rule))
        else:
            findings.append(
                Finding(line=0, column=0, severity="warning", message=warning.text, rule=warning.rule)
            )
    return sorted(findings, key=lambda finding: finding.line)


#: where a script begins in its document: first line, whether its lines are the document's, column
_Place = tuple[int, bool, int]


def _script_place(text: str) -> _Place | None:
    from caroni.execution.definition import compose_definition

    for key, value in compose_definition(text).value:
        if key.value == "script":
            node: yaml.ScalarNode = value
            if node.style == "|":
                # lines of a block begin below its indicator, all with the same indent
                first = node.start_mark.line + 2
                return first, True, _indent(text, first) + 1
            return node.start_mark.line + 1, False, node.start_mark.column + 1
    return None


def _indent(text: str, first: int) -> int:
    for line in text.split("\n")[first - 1 :]:
        if line.strip():
            return len(line) - len(line.lstrip(" "))
    return 0


def _in_script(
    place: _Place | None, line: int, severity: Literal["error", "warning"], message: str, rule: str
) -> Finding:
    first, exact, column = place or (0, False, 0)
    return Finding(
        line=first + line - 1 if exact else first,
        column=column,
        severity=severity,
        message=safe_line(message, 500),
        rule=rule,
        script_line=line,
    )
