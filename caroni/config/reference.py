"""Print the configuration reference (``docs/configuration.md``) from the structs."""

from __future__ import annotations

import inspect

from caroni.config.describe import Key, keys
from caroni.config.schema import Config, Section

_HEAD = """\
<!-- Printed by `python -m caroni.config`; change caroni/config/schema.py and print again. -->
# Configuration

A manager, an agent or a submitter is a directory with a `caroni.toml`; `caroni init` makes one. Commands
and daemons find it by `--config PATH` (the file or its directory), by the environment variable
`CARONI_CONFIG`, or as `caroni.toml` in the current directory.

The file is read strictly: an unknown key, a value of another type or a setting that would have no effect
stops the start with one line that names the file, the key and the remedy. `caroni config show` prints what
is in effect and where each value came from.

- **Durations** are text with units: `"500ms"`, `"30s"`, `"40m"`, `"12h"`, `"7d"`, `"1h30m"`.
- **Sizes** are text with units: `"512B"`, `"64KiB"`, `"16MiB"`, `"2GiB"` (also `kB`, `MB`, `GB`).
- **Paths** are relative to the file's directory.
- **Secrets** are paths to files of mode 0600, never values.
- **Environment variables** named `CARONI_<SECTION>__<KEY>` replace a key of a section, for example
  `CARONI_AMQP__URL=amqps://broker.example/`; `CARONI_SITE` and the other top-level keys likewise. Text is
  taken as it is; numbers, booleans and lists as TOML spells them. An unknown name with `__` is an error;
  those of `[manager]` mean nothing to an agent and the other way round, so that all may share them.
  (`CARONI_ENV_<name>` is how job bodies see their inputs and never configuration.)
"""


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [_HEAD]
    top = keys(Config)
    parts.append("\n## Top level\n\n" + _table([k for k in top.values() if k.struct is None]))
    for key in top.values():
        if key.struct is not None:
            parts.append(_section(f"[{key.name}]", key.struct, key.name))
    return "".join(parts)


def _section(title: str, struct: type[Section], name: str) -> str:
    found = keys(struct)
    text = f"\n## `{title}`\n\n{inspect.getdoc(struct)}\n\n"
    text += _table([k for k in found.values() if k.struct is None])
    for key in found.values():
        if key.struct is not None:
            text += _section(f"[[{name}.{key.name}]]", key.struct, f"{name}.{key.name}")
    return text


_KIND = {"names": "list of text", "choice": "one of", "text": "text", "boolean": "true or false"}


def _table(found: list[Key]) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in found:
        kind = _KIND.get(key.kind, key.kind)
        if key.kind == "choice":
            kind = " or ".join(f"`{c}`" for c in key.choices)
        if key.limits:
            kind += f", {key.limits}"
        default = "**required**" if key.required else _code(key.default_text)
        cells = (f"`{key.name}`", kind, default, key.description)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    if not text:
        return "none"
    return text if " of " in text else f"`{text}`"
