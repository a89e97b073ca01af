"""Read ``caroni.toml`` and the environment into a :class:`~caroni.config.schema.Config`, strictly.

A key that does not exist, a value of another type, a number without its unit, or a setting that would be
ignored stops the start with one line that says where and what to write instead.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from caroni.config.check import check
from caroni.config.describe import Key, keys
from caroni.config.schema import Config, Section
from caroni.config.units import parse_duration
from caroni.core.sizes import parse_size
from caroni.errors import ConfigError
from caroni.text import safe_line

#: The file's name in a daemon's directory.
FILE_NAME = "caroni.toml"
_MAX_BYTES = 1024 * 1024
#: CARONI_ENV_<name> is how job bodies see their inputs; it is never configuration.
_NOT_OURS = "CARONI_ENV_"
_DEFAULT = "default"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration and where it came from."""

    config: Config
    #: the file, absolute
    path: Path
    #: dotted key (``amqp.url``) -> ``file``, the name of an environment variable, or ``default``
    origins: dict[str, str]

    @property
    def directory(self) -> Path:
        """The daemon's directory."""
        return self.path.parent

    @property
    def lock_file(self) -> Path:
        """Held by the running daemon, and by ``caroni db migrate`` while the schema changes."""
        return self.directory / "caroni.lock"


def find_config(given: str | Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file to use: the one given, ``CARONI_CONFIG``, or ``caroni.toml`` right here.

    A directory stands for the ``caroni.toml`` in it.

    Raises:
        ConfigError: there is none.
    """
    text = str(given) if given else environ.get("CARONI_CONFIG", "")
    if not text:
        here = Path(FILE_NAME)
        if not here.is_file():
            raise ConfigError(
                "no configuration: give --config PATH, set CARONI_CONFIG, or make one with: caroni init"
            )
        return here.absolute()
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise ConfigError(f"{safe_line(str(path))}: no such file; make a directory with: caroni init")
    return path


def load_config(given: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read a configuration file, lay the environment over it, and check everything.

    Args:
        given: the file or its directory; None as for :func:`find_config`.
        environ: ``CARONI_<SECTION>__<KEY>`` replaces a key of a section, ``CARONI_SITE`` and the other
            top-level keys likewise. Text is taken as it is, numbers, booleans and lists as TOML spells them.

    Raises:
        ConfigError: one line, naming the file (or variable), the key and the remedy.
    """
    path = find_config(given, environ)
    shown = safe_line(str(path))
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{shown}: larger than 1 MiB: not a configuration file")
        raw = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{shown}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown}: not valid TOML: {safe_line(str(error))}") from None
    return build(raw, path=path, environ=environ)


def build(raw: dict[str, Any], *, path: Path, environ: Mapping[str, str]) -> Loaded:
    """Make a configuration from a parsed file; ``path`` is where relative paths start from.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    shown = safe_line(str(path))
    origins: dict[str, str] = {}
    _overlay(raw, environ, origins)
    reader = _Reader(shown, path.parent, origins)
    plain = reader.table(Config, raw, "")
    try:
        config = msgspec.convert(plain, Config, dec_hook=_path)
    except msgspec.ValidationError as error:  # limits: the reader has dealt with the types
        raise ConfigError(f"{shown}: {reader.explain(str(error))}") from None
    loaded = Loaded(config=config, path=path, origins=origins)
    check(config, raw, shown)
    return loaded


def _path(kind: type, value: Any) -> Any:
    return kind(value)


def _overlay(raw: dict[str, Any], environ: Mapping[str, str], origins: dict[str, str]) -> None:
    """Put the values of environment variables over those of the file."""
    top = keys(Config)
    for variable in sorted(environ, key=lambda name: ("__" in name, name)):  # the role first
        if not variable.startswith("CARONI_") or variable.startswith(_NOT_OURS):
            continue
        section, separator, name = variable.removeprefix("CARONI_").lower().partition("__")
        if not separator:
            if section in top and top[section].struct is None:
                raw[section] = _from_environment(variable, environ[variable], top[section])
                origins[section] = variable
            continue  # CARONI_CONFIG, CARONI_DEBUG, ...
        table = top[section].struct if section in top else None
        if table is None or name not in keys(table):
            known = [
                f"CARONI_{s.upper()}__{k.upper()}"
                for s, key in top.items()
                if key.struct is not None
                for k in keys(key.struct)
            ]
            raise ConfigError(f"environment: unknown key {safe_line(variable)}{_nearest(variable, known)}")
        if section in ("manager", "agent", "submitter") and section != raw.get("role"):
            continue  # an environment that a manager and an agent on one host share
        if isinstance(raw.setdefault(section, {}), dict):
            raw[section][name] = _from_environment(variable, environ[variable], keys(table)[name])
            origins[f"{section}.{name}"] = variable


def _from_environment(variable: str, text: str, key: Key) -> Any:
    if key.kind in ("integer", "boolean", "names", "tables"):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            raise ConfigError(
                f"environment: {variable}: {safe_line(text, 60)!r} is not {_A[key.kind]} as TOML spells it"
            ) from None
    return text


_A = {
    "text": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "duration": 'a duration such as "40m"',
    "size": 'a size such as "64MiB"',
    "path": "a path",
    "names": 'a list of text such as ["*"]',
    "table": "a table",
    "tables": "a list of tables",
}


class _Reader:
    """Walks the raw tables beside the structs: names, types and units."""

    def __init__(self, shown: str, directory: Path, origins: dict[str, str]) -> None:
        self.shown = shown
        self.directory = directory
        self.origins = origins

    def fail(self, dotted: str, problem: str) -> ConfigError:
        variable = self.origins.get(dotted, "file")
        where = f"environment: {variable}" if variable != "file" else f"{self.shown}: {spell(dotted)}"
        return ConfigError(f"{where}: {problem}")

    def table(self, struct: type[Section], raw: dict[str, Any], prefix: str) -> dict[str, Any]:
        known = keys(struct)
        for name in raw:
            if name not in known:
                where = f"[{prefix}] " if prefix else ""
                what = "section" if isinstance(raw[name], dict) and not prefix else "key"
                bad = safe_line(name, 60)
                shown = f"[{bad}]" if what == "section" else f"{where}{bad}"
                raise ConfigError(f"{self.shown}: unknown {what} {shown}{_nearest(name, list(known))}")
        plain: dict[str, Any] = {}
        for name, key in known.items():
            dotted = f"{prefix}.{name}" if prefix else name
            if name in raw:
                self.origins.setdefault(dotted, "file")
                plain[name] = self.value(key, raw[name], dotted)
            elif key.required:
                raise ConfigError(f"{self.shown}: missing key {spell(dotted)}: {_hint(key)}")
            elif key.kind == "table":
                plain[name] = self.table(cast("type[Section]", key.struct), {}, dotted)
            else:
                self.origins.setdefault(dotted, _DEFAULT)
                if key.kind == "path" and key.default is not None:
                    plain[name] = str(self.directory / key.default)
        return plain

    def value(self, key: Key, raw: Any, dotted: str) -> Any:
        if key.kind == "table" and isinstance(raw, dict):
            return self.table(cast("type[Section]", key.struct), raw, dotted)
        if key.kind == "tables" and isinstance(raw, list) and all(isinstance(r, dict) for r in raw):
            struct = cast("type[Section]", key.struct)
            return [self.table(struct, r, f"{dotted}[{n}]") for n, r in enumerate(raw)]
        if key.kind in ("duration", "size") and (isinstance(raw, str) or raw == 0):
            try:
                return (parse_duration if key.kind == "duration" else parse_size)(str(raw))
            except ValueError as error:
                raise self.fail(dotted, safe_line(str(error), 200)) from None
        if key.kind == "choice":
            if raw not in key.choices:
                wanted = ", ".join(key.choices)
                raise self.fail(dotted, f"{safe_line(str(raw), 60)!r} is not one of: {wanted}")
            return raw
        if key.kind == "path" and isinstance(raw, str) and raw and "\0" not in raw:
            return str(self.directory / Path(raw).expanduser())
        if (
            (key.kind == "text" and isinstance(raw, str))
            or (key.kind == "integer" and type(raw) is int)
            or (key.kind == "boolean" and type(raw) is bool)
            or (key.kind == "names" and isinstance(raw, list) and all(isinstance(r, str) for r in raw))
        ):
            return raw
        raise self.fail(dotted, f"must be {_A[key.kind]}, not {safe_line(repr(raw), 60)}")

    def explain(self, error: str) -> str:
        """Turn a limit's message (``... - at `$.amqp.prefetch` ``) into ours."""
        problem, _, where = error.partition(" - at `$.")
        dotted = where.rstrip("`")
        found: Key | None = None
        struct: type[Section] = Config
        for part in dotted.split("."):
            found = keys(struct).get(part.split("[")[0])
            if found is None:
                break
            struct = found.struct or struct
        limits = f" ({found.limits})" if found is not None and found.limits else ""
        variable = self.origins.get(dotted, "file")
        source = "" if variable in ("file", _DEFAULT) else f" (from {variable})"
        what = "is outside its limits" if found is not None and found.limits else problem
        return f"{spell(dotted)}{source} {what}{limits}"


def _hint(key: Key) -> str:
    return key.description.split(". ")[0].rstrip(".").replace("`", "") if key.description else "needed"


def spell(dotted: str) -> str:
    """A dotted key as people find it in the file: ``amqp.url`` -> ``[amqp] url``."""
    section, _, name = dotted.rpartition(".")
    return f"[{section}] {name}" if section else name


def _nearest(name: str, known: list[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return (
        f"; did you mean {match[0]}?" if match else f"; known: {', '.join(known)}" if len(known) < 12 else ""
    )
