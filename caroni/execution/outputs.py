"""What a job gives back: its outputs as strict, bounded, typed values. Everything it wrote is hostile.

Files are given by the job as a path inside its working directory (a string, or a File object with
``path``), and become File objects with location, basename, size and checksum.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Any, cast
from urllib.parse import quote

from caroni.core import cwltypes
from caroni.core.messages import Json
from caroni.core.plan import CwlType
from caroni.core.valuewords import quoted
from caroni.execution.definition import JobDefinition

MAX_DEPTH = 64
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class BadOutput(Exception):
    """The job's outputs are not what its definition declares; the text is for people."""


def collect(definition: JobDefinition, directory: str) -> dict[str, Json]:
    """The outputs of a job that ended well.

    Args:
        definition: what was promised.
        directory: the job's directory in the spool.

    Raises:
        BadOutput: they are missing, undeclared, ill-typed, too large or not JSON.
    """
    work = f"{directory}/work"
    from_stdout = definition.outputs_from == "stdout"
    what = "stdout" if from_stdout else "outputs.json"
    path = f"{directory}/stdout" if from_stdout else f"{work}/outputs.json"
    data = read_bounded(path, definition.limits.outputs, what)
    if data is None or (from_stdout and not data.strip()):
        missing = [n for n, t in sorted(definition.outputs.items()) if not cwltypes.is_optional(t)]
        if missing:
            cause = "the job printed nothing" if from_stdout else "the job wrote no outputs.json"
            raise BadOutput(f"output {quoted(missing[0])} is missing: {cause}")
        return dict.fromkeys(definition.outputs, "null")
    return typed(definition, parse(data, what), work)


def read_bounded(path: str, limit: int, what: str) -> bytes | None:
    """A regular file of at most ``limit`` bytes; None if there is none.

    Raises:
        BadOutput: it is too large, or no regular file.
    """
    try:
        fd = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        cause = "a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise BadOutput(f"{what} cannot be read: {cause}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadOutput(f"{what} is not a regular file")
        parts, left = [], limit + 1
        while left and (part := os.read(fd, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        if not left:
            raise BadOutput(f"{what} is larger than {limit} bytes (limits: outputs)")
        return b"".join(parts)
    finally:
        os.close(fd)


def parse(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``data``.

    Raises:
        BadOutput: it is not strict JSON, not an object, or nested too deeply.
    """
    try:
        found = cwltypes.decode_json(data.decode())
    except UnicodeDecodeError as error:
        raise BadOutput(f"{what} is not UTF-8 text (byte {error.start})") from None
    except ValueError as error:
        raise BadOutput(f"{what} is not JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise BadOutput(f"{what} is not a JSON object of outputs but {kind_of(found)}")
    level: list[dict[str, Any] | list[Any]] = [found]
    for _ in range(MAX_DEPTH):
        inner = (child for value in level for child in (value.values() if isinstance(value, dict) else value))
        level = [child for child in inner if isinstance(child, dict | list)]
        if not level:
            return found
    raise BadOutput(f"{what} is nested more than {MAX_DEPTH} deep")


def kind_of(value: object) -> str:
    """What kind of JSON value this is, in one word."""
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )


def typed(definition: JobDefinition, found: dict[str, Any], work: str) -> dict[str, Json]:
    """Every declared output as JSON text; optional ones that are missing are ``null``."""
    for name in found:
        if name not in definition.outputs:
            declared = ", ".join(sorted(definition.outputs)) or "none"
            raise BadOutput(f"output {quoted(name)} is not declared (declared: {declared})")
    values: dict[str, Json] = {}
    for name, type_ in definition.outputs.items():
        value = found.get(name)
        if value is None and not cwltypes.is_optional(type_):
            raise BadOutput(f"output {quoted(name)} is missing")
        try:
            if needs_files(type_):
                value = with_files(value, type_, work)
            cwltypes.check(value, type_)
            values[name] = cwltypes.encode_json(value)
        except cwltypes.ValueMismatch as error:
            raise BadOutput(f"output {error.under(name)}") from None
        except BadOutput as error:
            raise BadOutput(f"output {name}: {error}") from None
    return values


def needs_files(type_: CwlType) -> bool:
    """Whether a value of this type may hold a File or Directory."""
    if isinstance(type_, str):
        return type_ in ("File", "Directory", "Any")
    if isinstance(type_, list):
        return any(needs_files(member) for member in type_)
    if type_.get("type") == "array":
        return needs_files(cast("CwlType", type_["items"]))
    return any(needs_files(field["type"]) for field in cast("list[Any]", type_.get("fields") or ()))


def with_files(value: object, type_: CwlType, work: str) -> object:
    """The value with every File in it taken from the working directory."""
    if isinstance(type_, list):
        if value is None or "File" not in type_ or (isinstance(value, str) and "string" in type_):
            for member in type_:
                if needs_files(member) and isinstance(member, dict) and _shape(member) is type(value):
                    return with_files(value, member, work)
            return value
        return with_files(value, "File", work) if isinstance(value, str | dict) else value
    if isinstance(type_, dict):
        if type_.get("type") == "array" and isinstance(value, list):
            return [with_files(item, cast("CwlType", type_["items"]), work) for item in value]
        if type_.get("type") == "record" and isinstance(value, dict):
            fields = {f["name"]: f["type"] for f in cast("list[Any]", type_.get("fields") or ())}
            return {k: with_files(v, fields[k], work) if k in fields else v for k, v in value.items()}
        return value
    if type_ == "Any":
        if isinstance(value, dict):
            if value.get("class") in ("File", "Directory"):
                return with_files(value, str(value["class"]), work)
            return {k: with_files(v, "Any", work) for k, v in value.items()}
        return [with_files(v, "Any", work) for v in value] if isinstance(value, list) else value
    if type_ == "Directory" and value is not None:
        raise BadOutput("outputs of type Directory are not supported; give the files as File[]")
    if type_ != "File":
        return value
    if isinstance(value, dict) and value.get("class") == "File":
        value = value.get("path", value.get("location"))
    if not isinstance(value, str):
        raise BadOutput("a File is given as a path inside the job's working directory")
    return file_object(value, work)


def _shape(type_: dict[str, object]) -> type:
    return list if type_.get("type") == "array" else dict


def file_object(path: str, work: str) -> dict[str, object]:
    """The File object of a regular file in the working directory; no link on the way is followed.

    Raises:
        BadOutput: it is elsewhere, missing, or not a regular file.
    """
    relative = path.removeprefix(f"{work}/")
    parts = [part for part in relative.split("/") if part != "."]
    if not parts or relative.startswith("/") or ".." in parts or "" in parts or "\0" in relative:
        raise BadOutput(f"{quoted(path)} is not a path inside the job's working directory")
    fds = [os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        try:
            for part in parts[:-1]:
                fds.append(os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=fds[-1]))
            fds.append(os.open(parts[-1], _OPEN, dir_fd=fds[-1]))
        except (OSError, UnicodeError) as error:
            cause = (
                "a symbolic link is on the way"
                if getattr(error, "errno", 0) in (errno.ELOOP, errno.ENOTDIR)
                else getattr(error, "strerror", str(error))
            )
            raise BadOutput(f"file {quoted(path)} cannot be read: {cause}") from None
        status = os.fstat(fds[-1])
        if not stat.S_ISREG(status.st_mode):
            raise BadOutput(f"{quoted(path)} is not a regular file")
        digest = hashlib.sha1(usedforsecurity=False)  # CWL's checksum is SHA-1
        while part_ := os.read(fds[-1], 1 << 20):
            digest.update(part_)
    finally:
        for fd in fds:
            os.close(fd)
    return {
        "class": "File",
        "location": "file://" + quote(f"{work}/{'/'.join(parts)}"),
        "basename": parts[-1],
        "size": status.st_size,
        "checksum": f"sha1${digest.hexdigest()}",
    }
