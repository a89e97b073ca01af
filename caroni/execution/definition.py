"""A job definition: what an agent can run under a job type's name. Owners write it as YAML.

Reading is strict: an unknown key is an error that names the nearest known one, and every error says
file, line and column. Types are CWL's. The canonical JSON of a definition gives its digest.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import msgspec
import yaml

from caroni.core import cwltypes
from caroni.core.durations import parse_duration
from caroni.core.plan import CwlType
from caroni.core.sizes import parse_size
from caroni.errors import CaroniError, DocumentError, UsageError

#: what an input or output may be called: safe as a file name and in an environment variable's name
PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
#: names in the environment that would change how the shell or the loader behaves, or are ours
RESERVED_ENVIRONMENT = re.compile(
    r"(CARONI_.*|BASH_ENV|BASH_FUNC_.*|ENV|SHELLOPTS|BASHOPTS|LD_PRELOAD|LD_AUDIT|IFS|PS4)\Z"
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a job may write, in bytes; beyond it the job is stopped and fails."""

    stdout: int = 16 << 20
    stderr: int = 16 << 20
    outputs: int = 4 << 20


class JobDefinition(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One version of a job type. Exactly one of ``script`` (bash) and ``command`` (argv) is set."""

    name: str
    version: str = "1"
    description: str = ""
    #: name -> CWL type in its expanded JSON form
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    script: str = ""
    command: tuple[str, ...] = ()
    #: microseconds, 0 = no limit
    timeout: int = 0
    environment: dict[str, str] = {}
    success_codes: tuple[int, ...] = (0,)
    outputs_from: Literal["file", "stdout"] = "file"
    executor: str = "local"
    limits: Limits = Limits()
    #: microseconds after which a job is stopped whose manager is silent; 0 = it is kept
    stop_after: int = 0

    @cached_property
    def canonical(self) -> str:
        """This definition as JSON with sorted keys: what is stored, and what the digest is of."""
        return msgspec.json.encode(self, order="sorted").decode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @cached_property
    def required_inputs(self) -> tuple[str, ...]:
        """Inputs that must be given, sorted."""
        return tuple(sorted(n for n, t in self.inputs.items() if not cwltypes.is_optional(t)))

    @cached_property
    def optional_inputs(self) -> tuple[str, ...]:
        """Inputs that may be missing, sorted."""
        return tuple(sorted(n for n, t in self.inputs.items() if cwltypes.is_optional(t)))


def decode_definition(canonical: str) -> JobDefinition:
    """A definition from its canonical JSON (as the database keeps it).

    Raises:
        DocumentError: it is not one.
    """
    try:
        return msgspec.json.decode(canonical, type=JobDefinition)
    except msgspec.MsgspecError as error:
        raise DocumentError(f"stored job definition: {error}") from None


def load_definition(source: str | Path) -> JobDefinition:
    """Read a definition from a file (a path) or from YAML text (a string).

    Raises:
        DocumentError: with file, line and column of the fault.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise DocumentError("larger than 1 MiB, which no job definition is", file=str(source))
            text = data.decode()
        except OSError as error:
            raise DocumentError(f"cannot be read: {error.strerror}", file=str(source)) from None
        except UnicodeDecodeError as error:
            raise DocumentError(f"not UTF-8 text (byte {error.start})", file=str(source)) from None
        return _Reader(str(source)).definition(text)
    if len(source) > MAX_BYTES:
        raise DocumentError("larger than 1 MiB, which no job definition is")
    return _Reader("").definition(source)


def inspect_definition(text: str) -> tuple[JobDefinition | None, list[DocumentError]]:
    """All that can be told at once about a definition that is being written.

    Returns:
        the definition if nothing is wrong, and the faults, in the order of the text.
    """
    if len(text) > MAX_BYTES:
        return None, [DocumentError("larger than 1 MiB, which no job definition is")]
    reader = _Reader("", [])
    try:
        read = reader.definition(text)
    except DocumentError as error:
        return None, [*reader.faults, error]
    faults = sorted(reader.faults, key=lambda fault: (fault.line, fault.column))
    return (None if faults else read), faults


def compose_definition(text: str) -> yaml.MappingNode:
    """The nodes of a definition, with the places of its keys and values in the text.

    Raises:
        DocumentError: it is not YAML, or not a mapping.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError("larger than 1 MiB, which no job definition is")
    reader = _Reader("")
    root = reader.compose(text)
    if not isinstance(root, yaml.MappingNode):
        reader.fail("a job definition must be a mapping (key: value)", root)
    return root


class _Reader:
    """Turns YAML nodes into a definition, so that every complaint knows its place.

    With ``faults`` a field's complaint is put there and the other fields are read as well.
    """

    KEYS = (
        *("name", "version", "description", "inputs", "outputs", "script", "command", "timeout"),
        *("environment", "success_codes", "outputs_from", "executor", "limits"),
        "on_lost_contact",
    )

    def __init__(self, file: str, faults: list[DocumentError] | None = None) -> None:
        self.file = file
        self.faults = [] if faults is None else faults
        self.collects = faults is not None

    def fail(self, message: str, node: yaml.Node | None = None) -> NoReturn:
        mark = node.start_mark if node is not None else None
        raise DocumentError(
            message,
            file=self.file,
            line=mark.line + 1 if mark else 0,
            column=mark.column + 1 if mark else 0,
        )

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note a fault and go on, where faults are collected."""
        try:
            yield
        except DocumentError as error:
            if not self.collects:
                raise
            self.faults.append(error)

    def definition(self, text: str) -> JobDefinition:
        root = self.compose(text)
        if root is None:
            self.fail("the document is empty; a job definition begins with 'name:'")
        top = self.mapping(root, "a job definition", self.KEYS)
        fields: dict[str, Any] = {"name": ""}
        with self.noting():
            if "name" not in top:
                self.fail("'name' is missing", root)
            fields["name"] = self.name(top["name"])
        with self.noting():
            if ("script" in top) == ("command" in top):
                self.fail("give exactly one of 'script' (bash) and 'command' (a list)", root)
        for key, node in top.items():
            if key != "name":
                with self.noting():
                    field = "stop_after" if key == "on_lost_contact" else key
                    fields[field] = self.field(key, node)
        return JobDefinition(**fields)

    def name(self, node: yaml.Node) -> str:
        name = self.text(node, "name")
        if not JOB_NAME.match(name):
            self.fail(f"name {name!r}: letters, digits, '.', '_' and '-' only, up to 128", node)
        return name

    def field(self, key: str, node: yaml.Node) -> Any:
        match key:
            case "version" | "description" | "executor":
                return self.text(node, key)
            case "inputs" | "outputs":
                return self.types(node, key)
            case "timeout":
                return self.measured(node, parse_duration)
            case "outputs_from":
                origin = self.text(node, "outputs_from")
                if origin not in ("file", "stdout"):
                    self.fail("outputs_from is 'file' (outputs.json) or 'stdout'", node)
                return origin
            case "limits":
                limits = self.mapping(node, "limits", ("stdout", "stderr", "outputs"))
                return Limits(**{k: self.measured(n, parse_size) for k, n in limits.items()})
            case _:
                # script, command, environment, success_codes, on_lost_contact
                return getattr(self, key)(node)

    def compose(self, text: str) -> yaml.Node | None:
        """The one document's root node; anchors, tags and deep nesting are refused while scanning."""
        depth = 0
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                elif isinstance(event, yaml.CollectionEndEvent):
                    depth -= 1
                place = yaml.ScalarNode("", "", cast("Any", event.start_mark))
                if depth > MAX_DEPTH:
                    self.fail("nested too deeply", place)
                if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                    self.fail("anchors and aliases are not used in job definitions", place)
                if getattr(event, "tag", None):
                    self.fail("tags (!...) are not used in job definitions", place)
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise DocumentError(
                f"not YAML: {error.problem or error.context}",
                file=self.file,
                line=mark.line + 1 if mark else 0,
                column=mark.column + 1 if mark else 0,
            ) from None
        except yaml.YAMLError as error:
            raise DocumentError(f"not YAML: {str(error).splitlines()[0]}", file=self.file) from None

    def mapping(self, node: yaml.Node, what: str, known: tuple[str, ...] = ()) -> dict[str, yaml.Node]:
        """Keys and value nodes; with ``known``, any other key is an error."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(f"{what} must be a mapping (key: value)", node)
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            with self.noting():
                key = self.text(key_node, "a key")
                if known and key not in known:
                    near = difflib.get_close_matches(key, known, 1)
                    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                    self.fail(f"unknown key {key!r} in {what}; {hint}", key_node)
                if key in found:
                    self.fail(f"{key!r} is given twice", key_node)
                found[key] = value
        return found

    def text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            self.fail(f"{what} must be text", node)
        value = str(node.value)
        if "\0" in value:
            self.fail(f"{what} holds a NUL character", node)
        return value

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            self.fail(f"{what} must be a list", node)
        return list(node.value)

    def measured(self, node: yaml.Node, parse: Any) -> int:
        try:
            return int(parse(self.text(node, "this")))
        except (ValueError, UsageError) as error:
            self.fail(str(error), node)

    def types(self, node: yaml.Node, what: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, spec in self.mapping(node, what).items():
            with self.noting():
                found[name] = self.type(name, spec, what)
        return found

    def type(self, name: str, spec: yaml.Node, what: str) -> CwlType:
        if not PARAMETER_NAME.match(name):
            self.fail(f"{name!r} in {what}: a letter or '_', then letters, digits, '_'; up to 64", spec)
        try:
            return cwltypes.parse(yaml.SafeLoader("").construct_document(spec))
        except (CaroniError, yaml.YAMLError, ValueError) as error:
            # ValueError: what looks like a date and is none
            self.fail(f"type of {name!r}: {str(error).splitlines()[0]}", spec)

    def script(self, node: yaml.Node) -> str:
        script = self.text(node, "script")
        if not script.strip():
            self.fail("script is empty", node)
        return script

    def command(self, node: yaml.Node) -> tuple[str, ...]:
        words = tuple(self.text(word, "a word of command") for word in self.sequence(node, "command"))
        if not words or not words[0]:
            self.fail("command is empty; its first word is the program", node)
        return words

    def environment(self, node: yaml.Node) -> dict[str, str]:
        found = {}
        for name, value in self.mapping(node, "environment").items():
            if not PARAMETER_NAME.match(name):
                self.fail(f"{name!r} cannot be the name of an environment variable", value)
            if RESERVED_ENVIRONMENT.match(name):
                self.fail(f"{name!r} is not set by a definition; set it inside the script", value)
            found[name] = self.text(value, name)
        return found

    def on_lost_contact(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            if self.text(node, "on_lost_contact") == "keep":
                return 0
            self.fail("on_lost_contact is 'keep' or {stop_after: DURATION}", node)
        found = self.mapping(node, "on_lost_contact", ("stop_after",))
        if "stop_after" not in found:
            self.fail("on_lost_contact is 'keep' or {stop_after: DURATION}", node)
        after = self.measured(found["stop_after"], parse_duration)
        if after <= 0:
            self.fail("stop_after must be longer than nothing; 'keep' means never", found["stop_after"])
        return after

    def success_codes(self, node: yaml.Node) -> tuple[int, ...]:
        codes = []
        for item in self.sequence(node, "success_codes"):
            code = self.text(item, "an exit code")
            if not re.fullmatch(r"\d{1,3}", code) or int(code) > 255:
                self.fail(f"{code!r} is no exit code (0 to 255)", item)
            codes.append(int(code))
        if not codes:
            self.fail("success_codes is empty: the job could never succeed", node)
        return tuple(sorted(set(codes)))
