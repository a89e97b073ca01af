"""Input files: ``inputs.yml`` or ``inputs.json`` as typed values of a workflow's inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from caroni.core.cwltypes import ValueMismatch, check, decode_json, encode_json, is_optional
from caroni.core.locations import resolve_location
from caroni.core.messages import Json
from caroni.core.plan import Plan
from caroni.cwl.places import Places, Spot
from caroni.cwl.yamldoc import MAX_BYTES, read
from caroni.errors import DocumentError, UnsupportedFeature


def load_inputs(path: str | os.PathLike[str], plan: Plan) -> dict[str, Json]:
    """Read an input object and check it against the workflow's inputs.

    Names that the workflow does not have are ignored, as CWL wants it. Locations of Files are resolved
    against the file's folder. Missing inputs are not looked for: that is done by
    :func:`~caroni.core.inputs.bind_inputs`, once everything given elsewhere is there too.

    Returns:
        The inputs that the file gives, as JSON text.

    Raises:
        DocumentError: the file cannot be read, is no mapping, or a value does not fit.
    """
    file = Path(path)
    name = str(path)
    text = _read_text(file, name)
    data = _decode(text, name)
    if data is None:
        return {}
    places = Places({name: text})
    top = Spot(places, name)
    if not isinstance(data, dict):
        raise top.error("an input file is a mapping of input names to values")
    for key in data:
        if (
            key.rpartition(":")[2].rpartition("#")[2] in ("requirements", "overrides")
            and key != "requirements"
        ):
            raise UnsupportedFeature(f"{key} in an input file is not supported yet", file=name)
    folder = os.path.realpath(file.parent)
    given: dict[str, Json] = {}
    for wanted in plan.inputs:
        if wanted.name not in data:
            continue
        value = _resolved(data[wanted.name], folder)
        if value is None and (wanted.default is not None or is_optional(wanted.type)):
            given[wanted.name] = "null"
            continue
        try:
            check(value, wanted.type)
            given[wanted.name] = encode_json(value)
        except ValueMismatch as error:
            raise top.at(wanted.name).error(f"input {error.under(wanted.name)}") from None
    return given


def load_untyped_inputs(path: str | os.PathLike[str]) -> dict[str, Json]:
    """Read an input object whose types are known elsewhere; locations of Files become absolute.

    Raises:
        DocumentError: the file cannot be read, or is no mapping.
    """
    name = str(path)
    text = _read_text(Path(path), name)
    data = _decode(text, name)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise Spot(Places({name: text}), name).error("an input file is a mapping of input names to values")
    folder = os.path.realpath(Path(path).parent)
    return {key: encode_json(_resolved(value, folder)) for key, value in data.items()}


def _read_text(file: Path, name: str) -> str:
    try:
        if not file.is_file():
            raise DocumentError("no such file" if not file.exists() else "not a regular file", file=name)
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DocumentError(f"the file is larger than {MAX_BYTES >> 20} MiB", file=name)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DocumentError(error.strerror or "cannot be read", file=name) from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 (byte {error.start})", file=name) from None


def _decode(text: str, name: str) -> Any:
    if name.endswith(".json"):
        try:
            return decode_json(text)
        except ValueError as error:
            raise DocumentError(f"not JSON: {error}", file=name) from None
    return read(text, name)


def _resolved(value: Any, folder: str) -> Any:
    """The value with absolute locations in every File and Directory."""
    if isinstance(value, list):
        return [_resolved(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _resolved(item, folder) for key, item in value.items()}
    if found.get("class") in ("File", "Directory"):
        place = found.get("location", found.get("path"))
        if isinstance(place, str):
            found.pop("path", None)
            found["location"] = resolve_location(place, folder)
            found.setdefault("basename", place.rstrip("/").rpartition("/")[2] or "/")
    return found
