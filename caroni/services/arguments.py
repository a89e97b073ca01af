"""Values given on the command line: ``name=value`` pairs against the types they are for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from caroni.core import cwltypes
from caroni.core.inputs import unknown_input
from caroni.core.messages import Json
from caroni.core.plan import CwlType
from caroni.errors import UsageError
from caroni.text import safe_line


def split_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """``name=value`` texts as a dictionary.

    Raises:
        UsageError: no ``=``, no name, or a name that is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--input {safe_line(pair, 60)}: write name=value")
        if name in found:
            raise UsageError(f"--input {safe_line(name, 60)} is given twice")
        found[name] = text
    return found


def typed_arguments(
    pairs: Iterable[str], types: Mapping[str, CwlType], *, directory: Path | None = None
) -> dict[str, Json]:
    """Values of ``name=value`` pairs as JSON text, read as their types say.

    Text stays text where a string is wanted; a path becomes a File where a File is wanted; everything else
    is JSON (``n=3``, ``names=["a","b"]``).

    Args:
        pairs: the texts.
        types: input name to CWL type; other names are refused.
        directory: where relative paths of files start; the current directory if not given.

    Raises:
        UsageError: a name is unknown, or a value does not fit; one line with the remedy.
    """
    found: dict[str, Json] = {}
    for name, text in split_pairs(pairs).items():
        if name not in types:
            raise UsageError(f"--input: {unknown_input(name, types).replace('the workflow', 'the job')}")
        found[name] = cwltypes.encode_json(_value(name, text, types[name], directory or Path.cwd()))
    return found


def untyped_arguments(pairs: Iterable[str]) -> dict[str, Json]:
    """Values of ``name=value`` pairs where the types are known elsewhere: JSON if it is, else text."""
    found: dict[str, Json] = {}
    for name, text in split_pairs(pairs).items():
        decoded, value = _decoded(text)
        found[name] = cwltypes.encode_json(value if decoded else text)
    return found


def _value(name: str, text: str, wanted: CwlType, directory: Path) -> Any:
    members = wanted if isinstance(wanted, list) else [wanted]
    if "string" in members or any(isinstance(m, dict) and text in m.get("symbols", ()) for m in members):  # type: ignore[operator]
        return text
    decoded, value = _decoded(text)
    if decoded and cwltypes.fits(value, wanted):
        return value
    if "File" in members and not decoded:
        return _file(name, directory / text)
    if not decoded and cwltypes.fits(text, wanted):
        return text
    hint = "" if decoded else "; text needs quotes in JSON"
    raise UsageError(f"--input {name}: {safe_line(text, 60)!r} is not {cwltypes.describe(wanted)}{hint}")


def _decoded(text: str) -> tuple[bool, Any]:
    try:
        return True, cwltypes.decode_json(text)
    except ValueError:
        return False, None


def _file(name: str, path: Path) -> dict[str, object]:
    if not path.is_file():
        raise UsageError(f"--input {name}: there is no file {safe_line(str(path))}")
    absolute = path.resolve()
    return {
        "class": "File",
        "location": absolute.as_uri(),
        "basename": absolute.name,
        "size": absolute.stat().st_size,
    }


def decoded_values(values: Mapping[str, Json]) -> dict[str, Any]:
    """JSON texts as values, to print them inside one document."""
    return {name: json.loads(text) for name, text in values.items()}
