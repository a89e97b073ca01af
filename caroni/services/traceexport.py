"""Writing a trace to a file, see :mod:`caroni.services.tracefile`."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.errors import UsageError, of_system
from caroni.services.ledger import page
from caroni.services.stores import now
from caroni.services.traced import EVERYTHING, TraceEntry, TraceFilter
from caroni.services.tracefile import FORMAT, MAX_MESSAGES, VERSION, About, Failed, Sealed, Start
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store

#: messages that are read at once
_PAGE = 500


async def export(
    store: Store,
    own_uri: str,
    path: Path,
    filter: TraceFilter = EVERYTHING,
    *,
    after: int = 0,
    before: int | None = None,
    limit: int = MAX_MESSAGES,
) -> int:
    """Write messages to a new file (mode 0600: their values are readable), the oldest first.

    Args:
        store: whose ledger.
        own_uri: whose it is.
        path: must not exist.
        filter: which messages.
        after: only with a higher ``rev``.
        before: only with a lower one.
        limit: at most so many messages.

    Returns:
        How many messages were written; of each bundle all go or none.

    Raises:
        UsageError: the file exists.
        ConfigError: it cannot be written there.
        TransientError: the database is away, or the disk is full.
    """
    writer = _Writer(store, own_uri, path)
    try:
        count = await writer.write(filter, after, before, min(limit, MAX_MESSAGES))
    except OSError as error:
        writer.abandon()
        raise of_system(error, f"{safe_line(str(path))} cannot be written") from None
    except BaseException:
        writer.abandon()
        raise
    return count


class _Writer:
    def __init__(self, store: Store, own_uri: str, path: Path) -> None:
        self._store = store
        self._own = own_uri
        self._path = path
        shown = safe_line(str(path))
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(f"{shown} exists already: nothing is overwritten") from None
        except OSError as error:
            raise of_system(error, f"{shown} cannot be written") from None
        self._file = os.fdopen(handle, "wb")
        self._certificates: set[str] = set()

    def abandon(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _line(self, value: Any) -> None:
        self._file.write(msgspec.json.encode(value) + b"\n")

    async def write(self, filter: TraceFilter, after: int, before: int | None, limit: int) -> int:
        self._line(Start(format=FORMAT, version=VERSION, uri=self._own, at=now()))
        count = 0
        while count < limit:
            wanted = min(_PAGE, limit - count)
            found = await page(
                self._store, self._own, filter, after=after, before=before, limit=wanted, forward=True
            )
            if not found:
                break
            await self._page(found)
            count += len(found)
            after = found[-1].rev
        await asyncio.to_thread(self._end)
        return count

    def _end(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    async def _page(self, found: list[TraceEntry]) -> None:
        """The envelopes of a page; one whose messages stand on two pages is written twice."""
        from caroni.model.mapping import unescape

        of_envelope: dict[int, list[TraceEntry]] = {}
        envelopes = await self._ledger_of([entry.rev for entry in found if entry.kind == "message"])
        for entry in found:
            if entry.kind != "message":
                self._line({"failed": _failed(entry)})
            elif entry.rev in envelopes:
                of_envelope.setdefault(envelopes[entry.rev], []).append(entry)
        for ledger, entries in of_envelope.items():
            rows = await self._store.database.fetch(
                "SELECT peer, fingerprint, verdict, envelope FROM ledger WHERE rev = ?", ledger
            )
            for peer, fingerprint, verdict, body in rows:
                await self._certificate(str(fingerprint))
                self._line(
                    Sealed(
                        rev=ledger,
                        at=entries[0].at,
                        direction="out" if entries[0].direction == "out" else "in",
                        peer=unescape(peer),
                        verdict=unescape(verdict),
                        envelope=base64.b64encode(body).decode("ascii"),
                        about=[_about(entry) for entry in entries],
                    )
                )

    async def _ledger_of(self, revs: list[int]) -> dict[int, int]:
        dialect = self._store.database.dialect
        if not revs:
            return {}
        if dialect.sqlite:
            condition, parameter = (
                "rev IN (SELECT value FROM json_each(?))",
                msgspec.json.encode(revs).decode(),
            )
        else:
            condition, parameter = "rev = ANY(?::bigint[])", revs  # type: ignore[assignment]
        query = f"SELECT rev, ledger FROM ledger_item WHERE {condition}"  # noqa: S608 (our own words)
        return {int(row[0]): int(row[1]) for row in await self._store.database.fetch(query, parameter)}

    async def _certificate(self, fingerprint: str) -> None:
        if not fingerprint or fingerprint in self._certificates:
            return
        self._certificates.add(fingerprint)
        query = "SELECT pem FROM certificate WHERE fingerprint = ?"
        for (text,) in await self._store.database.fetch(query, fingerprint):
            self._line({"certificate": str(text)})


def _about(entry: TraceEntry) -> About:
    return About(
        position=entry.position,
        rev=entry.rev,
        workflow=entry.workflow,
        workflow_name=entry.workflow_name,
        step=entry.step,
        job_type=entry.job_type,
        attempt=entry.attempt,
    )


def _failed(entry: TraceEntry) -> Failed:
    return Failed(
        rev=entry.rev,
        at=entry.at,
        kind="refused" if entry.kind == "refused" else "set aside",
        sender=entry.sender,
        type=entry.type,
        conversation=entry.conversation,
        message_id=entry.message_id,
        verdict=entry.verdict,
        summary=entry.summary[:4096],
        size=entry.size,
    )
