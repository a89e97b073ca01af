"""The handshake trace from a daemon's ledger: pages of messages with what they belong to, and each in full.

A page is read by keys that are indexed: change numbers, and the conversations of a workflow, step or job.
What was refused unproven, and what is in quarantine, stands among the messages by its change number.
"""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.config import Loaded
from caroni.errors import UsageError
from caroni.services.belonging import Belonging
from caroni.services.traced import EVERYTHING, Decoded, TraceEntry, TraceFilter

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.wire.audit import Auditor
    from caroni.wire.bundle import Part

#: messages on one page at most
MOST = 2000
#: bytes of envelopes that one page reads to say in words what is in them, and of one envelope
PAGE_BYTES = 8 * 1024 * 1024
ONE_BYTES = 512 * 1024
#: conversations that are looked up one by one; a workflow with more is found by walking back
LOOKED_UP = 1500

_ITEM = (
    "i.rev, i.ledger, i.position, i.type, i.conversation_id, i.request_uuid, i.offer_uuid, i.job_uuid,"
    " i.workflow_uuid, l.direction, l.peer, l.message_id, l.payload_type, l.verdict, l.at, LENGTH(l.envelope)"
)
_REFUSED = "SELECT rev, at, reason, detail, routing_key, size FROM reject WHERE {} ORDER BY rev {} LIMIT ?"
_ASIDE = (
    "SELECT rev, key, kind, body, sender, reason, error, last_at, LENGTH(body) FROM quarantine"
    " WHERE kind NOT IN ('workflow', 'job', 'outgoing') AND {} ORDER BY rev {} LIMIT ?"
)


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which change numbers are wanted, and in which order they are met."""

    after: int
    before: int | None
    limit: int
    forward: bool

    @property
    def order(self) -> str:
        return "ASC" if self.forward else "DESC"

    def window(self, column: str) -> tuple[str, list[Any]]:
        condition, parameters = f"{column} > ?", [self.after]
        if self.before is not None:
            condition += f" AND {column} < ?"
            parameters.append(self.before)
        return condition, parameters


async def trace(
    store: Store,
    own_uri: str,
    filter: TraceFilter = EVERYTHING,
    *,
    after: int = 0,
    before: int | None = None,
    limit: int = 200,
) -> list[TraceEntry]:
    """A page of messages, oldest first.

    Args:
        store: a manager's or an agent's, open for reading.
        own_uri: whose it is.
        filter: which messages.
        after: the last ``rev`` had: what came next, at most ``limit``. 0: the newest page.
        before: the first ``rev`` had: the page before it.
        limit: at most so many; a few more where they share an envelope.

    Raises:
        UsageError: ``step`` without ``workflow``.
        TransientError: the database is away.
    """
    forward = after > 0 and before is None
    return await page(store, own_uri, filter, after=after, before=before, limit=limit, forward=forward)


async def page(
    store: Store,
    own_uri: str,
    filter: TraceFilter,
    *,
    after: int,
    before: int | None,
    limit: int,
    forward: bool,
) -> list[TraceEntry]:
    """Like :func:`trace`; ``forward`` says whether the oldest or the newest of the window are meant."""
    if filter.step and not filter.workflow:
        raise UsageError("a step is one of a workflow: name the workflow, too")
    wanted = _Page(after=after, before=before, limit=max(1, min(limit, MOST)), forward=forward)
    reader = _Reader(store, own_uri, filter, wanted)
    found = await reader.messages()
    if reader.shows_refused:
        found += await reader.refused()
        found += await reader.set_aside()
    found.sort(key=lambda entry: entry.key)
    if len(found) > wanted.limit:
        found = _cut(found, wanted)
    return await reader.belonging.fill(found)


def _cut(found: list[TraceEntry], wanted: _Page) -> list[TraceEntry]:
    """The wanted end of a page; messages that share a change number stay together."""
    if wanted.forward:
        last = found[wanted.limit - 1].rev
        return [entry for entry in found if entry.rev <= last]
    first = found[-wanted.limit].rev
    return [entry for entry in found if entry.rev >= first]


class _Reader:
    """Reads one page."""

    def __init__(self, store: Store, own_uri: str, filter: TraceFilter, page: _Page) -> None:
        self.store = store
        self.database = store.database
        self.own = own_uri
        self.filter = filter
        self.page = page
        self.belonging = Belonging(store)

    @property
    def shows_refused(self) -> bool:
        """Refusals belong to no workflow, and to a peer or type only by what they claim."""
        f = self.filter
        return not (f.workflow or f.job)

    # --- the ledger ------------------------------------------------------------------------------

    async def messages(self) -> list[TraceEntry]:
        from caroni.model.mapping import unescape

        condition, parameters = self.page.window("i.rev")
        more, values = await self._conditions()
        records = await self.database.fetch(
            f"SELECT {_ITEM} FROM ledger_item i JOIN ledger l ON l.rev = i.ledger"
            f" WHERE {' AND '.join([condition, *more])} ORDER BY i.rev {self.page.order} LIMIT ?",
            *parameters,
            *values,
            self.page.limit,
        )
        contents = await _Contents.read(self.store, {int(r[1]): int(r[15]) for r in records})
        entries: list[TraceEntry] = []
        for r in records:
            direction, peer = str(r[9]), unescape(r[10])
            outgoing = direction == "out"
            entry = TraceEntry(
                rev=int(r[0]),
                position=int(r[2]),
                at=int(r[14]),
                direction="out" if outgoing else "in",
                sender=self.own if outgoing else peer,
                receiver=peer if outgoing else self.own,
                type=str(r[3]),
                conversation=r[4],
                request=r[5],
                offer=r[6],
                job=r[7],
                workflow=r[8],
                message_id=r[11],
                verdict=unescape(r[13]),
                size=int(r[15]),
            )
            entries += contents.entries(int(r[1]), entry)
        return entries

    async def _conditions(self) -> tuple[list[str], list[Any]]:
        dialect = self.database.dialect
        conditions, parameters = list[str](), list[Any]()
        filter = self.filter
        if filter.workflow or filter.job or filter.conversation:
            conversations = await self._conversations()
            if conversations is None:
                # found while walking back: the index would bring all of them to be sorted
                column = f"{'+' if dialect.sqlite else ''}i.conversation_id"
                conditions.append(
                    f"({column} IN (SELECT request_uuid FROM request WHERE workflow_uuid = ?)"
                    " OR i.workflow_uuid = ?)"
                )
                parameters += [filter.workflow.hex()] * 2
            else:
                conditions.append(dialect.any_of("i.conversation_id"))
                parameters.append(dialect.texts(conversations))
        if filter.peer:
            conditions.append("LOWER(l.peer) LIKE ? ESCAPE '!'")
            parameters.append(_like(filter.peer))
        if filter.type:
            # the name of a bundle that was written while the broker was away says nothing of its messages
            conditions.append("(LOWER(i.type) LIKE ? ESCAPE '!' OR i.type = 'Bundle')")
            parameters.append(_like(filter.type))
        if filter.failed:
            conditions.append("l.verdict <> 'ok'")
        return conditions, parameters

    async def _conversations(self) -> list[str] | None:
        """The conversations that are wanted; None: too many to be named."""
        filter = self.filter
        if filter.conversation:
            return [filter.conversation.hex()]
        if filter.job:
            return await self.belonging.conversations_of_job(filter.job)
        return await self.belonging.conversations_of_workflow(filter.workflow, filter.step, LOOKED_UP)

    # --- what failed -----------------------------------------------------------------------------

    async def refused(self) -> list[TraceEntry]:
        """Those whose sender was not proven: the ring keeps the last few hundred."""
        from caroni.model.mapping import unescape

        if self.filter.conversation:
            return []
        condition, parameters = self.page.window("rev")
        query = _REFUSED.format(condition, self.page.order)
        found = []
        for rev, at, reason, detail, routing_key, size in await self.database.fetch(
            query, *parameters, self.page.limit
        ):
            sender, text = _claimed(unescape(detail))
            entry = TraceEntry(
                rev=int(rev),
                kind="refused",
                at=int(at),
                direction="in",
                sender=sender,
                receiver=self.own,
                type="",
                summary=text or unescape(routing_key),
                verdict=unescape(reason),
                size=int(size),
            )
            if self.filter.passes(entry):
                found.append(entry)
        return found

    async def set_aside(self) -> list[TraceEntry]:
        """Those of a proven sender that could not be taken."""
        from caroni.model.mapping import unescape
        from caroni.wire.glance import name_of
        from caroni.wire.kept import kept

        condition, parameters = self.page.window("rev")
        query = _ASIDE.format(condition, self.page.order)
        found = []
        for rev, key, kind, body, sender, reason, error, at, size in await self.database.fetch(
            query, *parameters, self.page.limit
        ):
            item = kept(bytes(body))
            entry = TraceEntry(
                rev=int(rev),
                kind="set aside",
                at=int(at),
                direction="in",
                sender=unescape(sender),
                receiver=self.own,
                type=name_of(item.type_url) if item is not None else str(kind),
                summary=unescape(error),
                conversation=item.conversation_id.hex() if item is not None else "",
                verdict=unescape(reason),
                message_id=key,
                size=int(size),
            )
            if self.filter.passes(entry):
                found.append(entry)
        return found


def _like(part: str) -> str:
    escaped = part.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


def _claimed(detail: str) -> tuple[str, str]:
    """A refusal's proven sender, which stands before the reason, and the reason."""
    if detail.startswith("caroni://"):
        sender, _, rest = detail.partition(" ")
        return sender, rest
    return "", detail


class _Contents:
    """The envelopes of a page, opened as far as there is room, to say in words what is in them."""

    def __init__(self) -> None:
        self._parts: dict[int, Sequence[Part]] = {}
        self._taken: dict[int, set[int]] = {}

    @classmethod
    async def read(cls, store: Store, sizes: dict[int, int]) -> _Contents:
        from caroni.errors import MessageRejected
        from caroni.wire.glance import glance

        contents, room, wanted = cls(), PAGE_BYTES, list[int]()
        for rev, size in sizes.items():
            if size <= min(ONE_BYTES, room):
                room -= size
                wanted.append(rev)
        dialect = store.database.dialect
        if not wanted:
            return contents
        if dialect.sqlite:
            condition, parameter = (
                "rev IN (SELECT value FROM json_each(?))",
                msgspec.json.encode(wanted).decode(),
            )
        else:
            condition, parameter = "rev = ANY(?::bigint[])", wanted  # type: ignore[assignment]
        query = f"SELECT rev, envelope FROM ledger WHERE {condition}"
        for rev, envelope in await store.database.fetch(query, parameter):
            try:
                contents._parts[int(rev)] = glance(bytes(envelope)).parts
            except MessageRejected:
                continue
        return contents

    def entries(self, ledger: int, entry: TraceEntry) -> list[TraceEntry]:
        """The entry with a summary; several for a bundle that the ledger has not taken apart."""
        from caroni.services.opening import described

        parts = self._parts.get(ledger)
        if parts is None:
            return [msgspec.structs.replace(entry, summary=_too_large(entry.size))]
        if entry.type == "Bundle":
            return [
                described(msgspec.structs.replace(entry, position=place, type=""), part, len(parts))
                for place, part in enumerate(parts)
            ]
        place = self._place(ledger, entry, parts)
        if place is None:
            return [entry]
        return [described(msgspec.structs.replace(entry, position=place), parts[place], len(parts))]

    def _place(self, ledger: int, entry: TraceEntry, parts: Sequence[Part]) -> int | None:
        """Where in its envelope a message is: the ledger does not count those that were set aside."""
        from caroni.wire.glance import name_of

        taken = self._taken.setdefault(ledger, set())
        for place in range(entry.position, len(parts)):
            part = parts[place]
            same = name_of(part.type_url) == entry.type and part.conversation_id.hex() == entry.conversation
            if place not in taken and same:
                taken.add(place)
                return place
        return None


def _too_large(size: int) -> str:
    from caroni.services.words import size as of

    return f"{of(size)}: open it to see"


# --- one message -----------------------------------------------------------------------------------


async def message(
    loaded: Loaded, store: Store, rev: int, position: int | None = None, auditor: Auditor | None = None
) -> Decoded:
    """One message with everything in it, verified again now.

    Args:
        loaded: whose store it is.
        store: open for reading.
        rev: of its entry.
        position: of its entry, where several share ``rev``.
        auditor: verifies; without one it is made for this message.

    Raises:
        UsageError: nothing has this number (any more).
        ConfigError: the trust store cannot be read.
    """
    from caroni.services import opening

    auditor = auditor or await opening.auditor_of(loaded, store)
    entries = await page(
        store, loaded.config.uri, EVERYTHING, after=rev - 1, before=rev + 1, limit=1, forward=True
    )
    if position is not None:
        entries = [entry for entry in entries if entry.position == position]
    if not entries:
        raise UsageError(f"there is no message {rev} (any more); see: caroni trace")
    entry = entries[0]
    if entry.kind == "refused":
        rows = await store.database.fetch("SELECT head FROM reject WHERE rev = ?", rev)
        return opening.only_head(entry, bytes(rows[0][0]) if rows else b"")
    if entry.kind == "set aside":
        rows = await store.database.fetch("SELECT kind, body FROM quarantine WHERE rev = ?", rev)
        kind, body = (str(rows[0][0]), bytes(rows[0][1])) if rows else ("", b"")
        return opening.set_aside(entry, kind, body, auditor)
    rows = await store.database.fetch(
        "SELECT l.envelope FROM ledger_item i JOIN ledger l ON l.rev = i.ledger WHERE i.rev = ?", rev
    )
    return opening.decoded(entry, bytes(rows[0][0]) if rows else b"", auditor)
