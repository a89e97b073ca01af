"""Values given on the command line: ``name=value`` pairs against the types they are for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from caroni.core import cwltypes
from caroni.core.inputs import unknown_input
from caroni.core.locations import file_value
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
        base = directory or Path.cwd()
        try:
            value = cwltypes.text_to_value(text, types[name], str(base.absolute()))
        except cwltypes.ValueMismatch as error:
            raise UsageError(f"--input {error.under(name)}") from None
        found[name] = _with_size(name, value)
    return found


def untyped_arguments(pairs: Iterable[str]) -> dict[str, Json]:
    """Values of ``name=value`` pairs where the types are known elsewhere: JSON if it is, else text."""
    found: dict[str, Json] = {}
    for name, text in split_pairs(pairs).items():
        decoded, value = _decoded(text)
        found[name] = cwltypes.encode_json(value if decoded else text)
    return found


def file_arguments(pairs: Iterable[str]) -> dict[str, Json]:
    """File values of ``name=path`` pairs.

    Raises:
        UsageError: there is no such file.
    """
    here = str(Path.cwd())
    return {
        name: _with_size(name, cwltypes.encode_json(file_value(text, "File", here)))
        for name, text in split_pairs(pairs).items()
    }


def _decoded(text: str) -> tuple[bool, Any]:
    try:
        return True, cwltypes.decode_json(text)
    except ValueError:
        return False, None


def _with_size(name: str, value: Json) -> Json:
    """A file that a person names must be there: better said now than by a job on another host."""
    decoded = json.loads(value)
    if not isinstance(decoded, dict) or decoded.get("class") not in ("File", "Directory"):
        return value
    location = str(decoded.get("location", ""))
    if not location.startswith("file://"):
        return value
    path = Path(unquote(urlsplit(location).path))
    if not path.exists():
        raise UsageError(f"--input {name}: there is no file {safe_line(str(path))}")
    if path.is_file():
        decoded["size"] = path.stat().st_size
    return cwltypes.encode_json(decoded)


def decoded_values(values: Mapping[str, Json]) -> dict[str, Any]:
    """JSON texts as values, to print them inside one document."""
    return {name: json.loads(text) for name, text in values.items()}
