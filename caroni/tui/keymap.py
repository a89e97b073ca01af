"""The user's own keys: a file that names acts by their id.

``$XDG_CONFIG_HOME/caroni/keys.toml``::

    [keys]
    "jobs.kill" = "f9"
    "screen.find" = "slash,ctrl+s"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from caroni.errors import ConfigError
from caroni.text import safe_line

#: keys that terminals do not deliver, or deliver as another one (measured over SSH and tmux)
SWALLOWED = {
    "ctrl+h": "backspace", "ctrl+i": "tab", "ctrl+m": "enter", "ctrl+j": "enter", "ctrl+enter": "nothing",
    "alt+enter": "enter", "shift+enter": "nothing that can be told", "ctrl+space": "ctrl+@",
}  # fmt: skip


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file is looked for."""
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "caroni" / "keys.toml"


def load(path: Path) -> dict[str, str]:
    """The keys of each act that the file names, for ``App.set_keymap``.

    Raises:
        ConfigError: the file cannot be read, an entry is no text, or names a key that no terminal delivers.
    """
    shown = safe_line(str(path))
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"keymap {shown}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"keymap {shown}: {error}") from None
    entries = content.get("keys")
    if not isinstance(entries, dict) or len(content) != 1:
        raise ConfigError(f'keymap {shown}: one table is expected: [keys], with lines "act" = "key"')
    found: dict[str, str] = {}
    for act, keys in entries.items():
        if not isinstance(keys, str) or not keys.strip():
            raise ConfigError(f'keymap {shown}: {safe_line(str(act), 60)!r} needs a key, e.g. "f9"')
        for key in keys.split(","):
            if key.strip() in SWALLOWED:
                raise ConfigError(
                    f"keymap {shown}: {key.strip()} reaches no program in most terminals"
                    f" (it arrives as {SWALLOWED[key.strip()]}): choose another key"
                )
        found[act] = keys
    return found
