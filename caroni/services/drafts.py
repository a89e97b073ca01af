"""Texts that are being written, kept beside their databases so that a lost terminal loses nothing.

A draft is one file of the operator's own (mode 0600, in a directory 0700), replaced as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

import msgspec

from caroni.errors import ConfigError, UsageError, of_system
from caroni.services.stores import now
from caroni.text import safe_line

#: bytes of one file, and number of drafts; the oldest go
MAX_BYTES = 8 << 20
MAX_DRAFTS = 200
_ENDING = ".json"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A text that was not saved. ``base`` is the revision that it was made of, 0 for a new one.

    ``documents`` are its parts by name (a job definition has one, called ""), ``at`` is wall microseconds.
    ``site`` is the identity of the daemon whose catalogue it is for.
    """

    site: str
    kind: str
    name: str
    base: int
    at: int
    documents: dict[str, str]
    main: str = ""
    origin: str = ""
    #: the documents that it was made of, to tell later what had been changed
    before: dict[str, str] = {}


class Drafts:
    """The drafts of this user.

    Args:
        directory: where they are; by default ``$XDG_STATE_HOME/caroni/drafts``.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or state_directory() / "drafts"

    def save(self, draft: Draft) -> Path:
        """Keep a draft in the place of the one before it.

        Raises:
            UsageError: it is too large.
            ConfigError: the directory cannot be used.
            TransientError: there is no space.
        """
        data = msgspec.json.encode(draft)
        if len(data) > MAX_BYTES:
            raise UsageError(f"a text of more than {MAX_BYTES >> 20} MiB is not kept as a draft: save it")
        self._open()
        path = self._path(draft.site, draft.kind, draft.name)
        try:
            _replace(path, data)
            self._thin_out(path)
        except OSError as error:
            raise of_system(error, f"the draft {path} cannot be written") from None
        return path

    def load(self, site: str, kind: str, name: str) -> Draft | None:
        """The draft of a text, or None if there is none that can be read."""
        found = self._read(self._path(site, kind, name))
        return found if found and (found.site, found.kind, found.name) == (site, kind, name) else None

    def all(self, site: str | None = None, kind: str | None = None) -> list[Draft]:
        """All drafts, or those of a site or kind, the latest first. Files that are none are left out."""
        found = [draft for path in self._files() if (draft := self._read(path)) is not None]
        wanted = [d for d in found if site in (None, d.site) and kind in (None, d.kind)]
        return sorted(wanted, key=lambda draft: -draft.at)

    def discard(self, site: str, kind: str, name: str) -> None:
        """Forget a draft; nothing happens if there is none."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(site, kind, name).unlink()

    def _path(self, site: str, kind: str, name: str) -> Path:
        """A file name that says what it is, whatever the name holds; the digest makes it the only one."""
        shown = "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", part)[:40].strip("-") for part in (kind, name))
        digest = hashlib.sha256("\0".join((site, kind, name)).encode(errors="replace")).hexdigest()[:16]
        return self.directory / f"{shown}-{digest}{_ENDING}"

    def _open(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # the parents may be anyone's to list, the drafts are not
            status = os.lstat(self.directory)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise ConfigError(
                    f"{safe_line(str(self.directory))} is no directory of this user: drafts stop"
                )
            if stat.S_IMODE(status.st_mode) & 0o077:
                self.directory.chmod(0o700)
        except OSError as error:
            raise of_system(error, f"drafts cannot be kept in {safe_line(str(self.directory))}") from None

    def _files(self) -> list[Path]:
        try:
            with os.scandir(self.directory) as entries:
                return [
                    Path(entry.path)
                    for entry in entries
                    if entry.name.endswith(_ENDING) and entry.is_file(follow_symlinks=False)
                ]
        except OSError:
            return []

    def _read(self, path: Path) -> Draft | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None
            data = file.read(MAX_BYTES + 1)
        try:
            return msgspec.json.decode(data, type=Draft) if len(data) <= MAX_BYTES else None
        except msgspec.MsgspecError:
            return None

    def _thin_out(self, kept: Path) -> None:
        files = self._files()
        if len(files) <= MAX_DRAFTS:
            return
        aged = sorted((p for p in files if p != kept), key=lambda p: p.lstat().st_mtime_ns)
        for path in aged[: len(files) - MAX_DRAFTS]:
            path.unlink(missing_ok=True)


def state_directory() -> Path:
    """Where this user's state is kept: ``$XDG_STATE_HOME/caroni``, else ``~/.local/state/caroni``."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()
    return base / "caroni"


def draft_of(
    site: str,
    kind: str,
    name: str,
    *,
    base: int,
    documents: dict[str, str],
    before: dict[str, str],
    main: str = "",
    origin: str = "",
) -> Draft:
    """A draft as of now."""
    return Draft(
        site=site,
        kind=kind,
        name=name,
        base=base,
        at=now(),
        documents=documents,
        main=main,
        origin=origin,
        before=before,
    )


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
