"""A job definition as a form: the fields that people change most, read from its YAML and put back into it.

The text is the truth. A field that has not been changed leaves its part of the text alone, with its comments;
a changed one replaces only its own part.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from caroni.core.plan import CwlType
from caroni.errors import DocumentError
from caroni.execution.definition import JobDefinition, compose_definition

#: keys in the order in which a definition is written
_ORDER = (
    *("name", "version", "description", "executor", "inputs", "outputs", "script", "command", "timeout"),
    *("environment", "success_codes", "outputs_from", "limits", "on_lost_contact"),
)
#: what YAML takes for the end of a line and others do not
_ODD_BREAK = re.compile("[\x85\u2028\u2029]|\r(?!\n)")
_LINES = ("name", "version", "description", "executor", "timeout")


class DefinitionForm(msgspec.Struct, frozen=True, kw_only=True):
    """What the form shows. ``inputs`` and ``outputs`` are lines of ``name: type``, ``script`` is bash.

    An empty field is one that the definition does not have. ``has_command``: the definition starts a program
    without a shell, and the script is empty.
    """

    name: str = ""
    version: str = ""
    description: str = ""
    executor: str = ""
    timeout: str = ""
    inputs: str = ""
    outputs: str = ""
    script: str = ""
    has_command: bool = False


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The text with the form's changes. ``rewritten``: all of it was written anew, without its comments."""

    text: str
    rewritten: bool = False


def read_form(text: str) -> DefinitionForm:
    """The form of a definition's text.

    Raises:
        DocumentError: the text is not YAML, or not a mapping of plain keys; it must be mended as text.
    """
    root = compose_definition(text)
    nodes = _nodes(root)
    fields: dict[str, Any] = {"has_command": "command" in nodes}
    for key in _LINES:
        fields[key] = _scalar_value(nodes, key)
    for key in ("inputs", "outputs"):
        fields[key] = _entries(text, root, nodes, key)
    # one line break at the end is what an editor shows as none
    script = _scalar_value(nodes, "script")
    fields["script"] = script.rstrip("\n") + "\n" if script else ""
    return DefinitionForm(**fields)


def apply_form(text: str, form: DefinitionForm) -> Applied:
    """Put a form's fields into a text.

    Args:
        text: what the form was read from; "" for a new definition.
        form: the fields as they are now. What is wrong in them is wrong in the text then.

    Raises:
        DocumentError: ``text`` is not one that :func:`read_form` reads.
    """
    if not text.strip():
        return Applied(text=_new(form))
    before = read_form(text)
    if not _is_plain_block(text):
        if before == form:
            return Applied(text=text)
        text = _as_block(text)
        return Applied(text=apply_form(text, form).text, rewritten=True)
    sections = _Sections(text)
    for key in _ORDER:
        if key in DefinitionForm.__struct_fields__ and getattr(form, key) != getattr(before, key):
            sections.put(key, _lines_of(key, getattr(form, key)))
    return Applied(text=sections.text())


def _lines_of(key: str, value: str) -> list[str]:
    """The lines of a key with its value; none for an empty one."""
    if not value.strip():
        return []
    if key == "script":
        return _script_lines(value)
    if key in _LINES:
        return [f"{key}: {_plain(value)}"]
    lines = textwrap.dedent(value.expandtabs(2)).strip("\n").split("\n")
    return [f"{key}:", *(f"  {line}".rstrip() for line in lines)]


def field_at(text: str, line: int) -> tuple[str, int]:
    """The field that a line (from 1) of a text belongs to, and the line within it; ("", 0) if none."""
    lines = text.split("\n")
    for number in range(min(line, len(lines)), 0, -1):
        head, colon, _ = lines[number - 1].partition(":")
        if colon and head in _ORDER:
            return head, line - number
    return "", 0


def written(definition: JobDefinition) -> str:
    """A definition as plain YAML: for one that was kept without the text that its owner wrote."""
    plain = msgspec.to_builtins(definition)
    defaults = msgspec.to_builtins(JobDefinition(name=""))
    shown = {key: value for key, value in plain.items() if key == "name" or value != defaults[key]}
    if "timeout" in shown:
        shown["timeout"] = _duration(shown["timeout"])
    if "stop_after" in shown:
        shown["on_lost_contact"] = {"stop_after": _duration(shown.pop("stop_after"))}
    for key in ("inputs", "outputs"):
        if key in shown:
            shown[key] = {name: type_in_short(type_) for name, type_ in shown[key].items()}
    return _dump({key: shown[key] for key in _ORDER if key in shown})


def type_in_short(type_: CwlType) -> Any:
    """A type as people write it in YAML: ``string?``, ``File[]``, and mappings where words do not do."""
    if isinstance(type_, list):
        others = [member for member in type_ if member != "null"]
        if len(others) == 1 and len(type_) == 2 and isinstance(inner := type_in_short(others[0]), str):
            return f"{inner}?"
        return [type_in_short(member) for member in type_]
    if isinstance(type_, Mapping):
        if type_.get("type") == "array":
            items = type_in_short(type_["items"])  # type: ignore[arg-type]
            return f"{items}[]" if isinstance(items, str) else {"type": "array", "items": items}
        return dict(type_)
    return type_


# --- reading -------------------------------------------------------------------------------------


def _nodes(root: yaml.MappingNode) -> dict[str, yaml.Node]:
    return {str(key.value): value for key, value in root.value if isinstance(key, yaml.ScalarNode)}


def _scalar_value(nodes: Mapping[str, yaml.Node], key: str) -> str:
    node = nodes.get(key)
    if node is None:
        return ""
    if not isinstance(node, yaml.ScalarNode):
        raise DocumentError(
            f"{key} must be text", line=node.start_mark.line + 1, column=node.start_mark.column + 1
        )
    return "" if node.tag.endswith(":null") else str(node.value)


def _entries(text: str, root: yaml.MappingNode, nodes: Mapping[str, yaml.Node], key: str) -> str:
    """The lines of ``name: type`` of a section, with the comments between them."""
    node = nodes.get(key)
    if not isinstance(node, yaml.MappingNode):
        return ""
    if node.flow_style or _ODD_BREAK.search(text):
        return "".join(
            f"{text[name.start_mark.index : name.end_mark.index]}:"
            f" {' '.join(text[value.start_mark.index : value.end_mark.index].split())}\n"
            for name, value in node.value
        )
    first, end = _section(text, root, key)
    return textwrap.dedent("\n".join(text.split("\n")[first + 1 : end])) + "\n"


def _section(text: str, root: yaml.MappingNode, key: str) -> tuple[int, int]:
    """First line (from 0) of a key, and the line behind its value.

    Comments and empty lines above the next key belong to that.
    """
    starts = [(k.start_mark.line, str(k.value)) for k, _ in root.value]
    lines = text.split("\n")
    ends = [*(line for line, _ in starts[1:]), len(lines)]
    for (first, name), end in zip(starts, ends, strict=True):
        if name == key:
            while end > first + 1 and (
                not lines[end - 1].strip() or lines[end - 1].startswith(("#", "---", "..."))
            ):
                end -= 1
            return first, end
    raise KeyError(key)


# --- writing -------------------------------------------------------------------------------------


def _is_plain_block(text: str) -> bool:
    """Whether each key stands at the beginning of a line of its own."""
    root = compose_definition(text)
    if root.flow_style or _ODD_BREAK.search(text):
        return False
    return all(
        key.start_mark.column == 0 and isinstance(key, yaml.ScalarNode) and key.style is None
        for key, _ in root.value
    )


class _Sections:
    """Changes of a text, key by key. All are placed in the text as it was, so none can break another."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = compose_definition(text)
        self._nodes = _nodes(self._root)
        lines = text.split("\n")
        #: where each line begins, and the end
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._edits: list[tuple[int, int, str]] = []

    def put(self, key: str, new: list[str]) -> None:
        """Replace the lines of a key, add them where they are not there, or take them out."""
        node = self._nodes.get(key)
        block = "".join(f"{line}\n" for line in new)
        if node is None:
            before = [other for other in _ORDER[: _ORDER.index(key)] if other in self._nodes]
            at = _section(self._text, self._root, before[-1])[1] if before else self._first
            self._edit(self._starts[at], self._starts[at], block)
        elif (
            len(new) == 1
            and isinstance(node, yaml.ScalarNode)
            and node.style in (None, "'", '"')
            and node.value
        ):
            # what follows on the line is a comment
            self._edit(node.start_mark.index, node.end_mark.index, new[0].partition(": ")[2])
        else:
            first, end = _section(self._text, self._root, key)
            self._edit(self._starts[first], self._starts[end], block)

    @property
    def _first(self) -> int:
        return int(self._root.value[0][0].start_mark.line)

    def _edit(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new))

    def text(self) -> str:
        """The text with all changes."""
        pieces, at = [], 0
        whole = self._text + "\n"  # so that every line has its end
        # what is added at one place stays in its order
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            pieces += [whole[at:start], new]
            at = end
        changed = "".join([*pieces, whole[at:]])
        return changed.removesuffix("\n") if not self._text.endswith("\n") else changed[:-1]


def _script_lines(script: str) -> list[str]:
    script = script.rstrip("\n") + "\n"
    # a first line that is indented, or empty, hides how far the block is indented
    mark = "|2" if script[0] in " \n" else "|"
    block = [f"script: {mark}", *(f"  {line}" if line else "" for line in script[:-1].split("\n"))]
    try:
        if str(_nodes(compose_definition("\n".join([*block, ""])))["script"].value) == script:
            return block
    except DocumentError:
        pass
    # characters that YAML does not take as they are
    return [f"script: {_plain(script)}"]


def _plain(value: str) -> str:
    """A text as YAML on one line."""
    if "\n" in value or not value.isprintable():
        return yaml.dump(value, default_style='"', width=1 << 30, allow_unicode=True).strip()
    return yaml.dump({"k": value}, width=1 << 30, allow_unicode=True).strip().partition(": ")[2]


def _new(form: DefinitionForm) -> str:
    text = f"name: {_plain(form.name)}\n"
    return apply_form(text, form).text


def _as_block(text: str) -> str:
    plain = yaml.safe_load(text)
    ordered = {key: plain[key] for key in _ORDER if key in plain}
    return _dump({**ordered, **{key: value for key, value in plain.items() if key not in ordered}})


def _duration(micros: int) -> str:
    return f"{micros // 1_000_000}s" if micros % 1_000_000 == 0 else f"{micros / 1_000_000}s"


class _Dumper(yaml.SafeDumper):
    """Plain YAML; texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _dump(plain: dict[str, Any]) -> str:
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
