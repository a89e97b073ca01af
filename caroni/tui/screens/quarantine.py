"""What was set aside: why, what is in it, and having it tried again or dropped."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from textual.worker import Worker

from caroni.services import quarantine
from caroni.services.quarantine import SetAside, Shown
from caroni.services.stores import now
from caroni.services.words import ago, brief, plural, said, size
from caroni.trust.instants import to_text
from caroni.tui.acts import Act
from caroni.tui.glyphs import look
from caroni.tui.paint import BOLD, DIM
from caroni.tui.screens.listing import ListScreen
from caroni.tui.widgets.lines import Styled
from caroni.tui.widgets.table import Cell, Column, Key, Line

if TYPE_CHECKING:
    from caroni.model.store import Store

#: rows that are listed
_LISTED = 500
#: lines of a content that are shown, and contents that are kept
_CONTENT, _KEPT = 2000, 50
#: characters of an error that stand before everything else
_ERROR = 240
#: reasons that speak of us, not of the sender
_OURS = ("POISON", "BUG", "UNREADABLE")


class _Seen(msgspec.Struct, frozen=True):
    at: int
    rows: tuple[SetAside, ...]
    counts: dict[str, int]


class QuarantineScreen(ListScreen):
    """The last set aside first; everything in it is hostile until shown otherwise."""

    NAME = "quarantine"
    PERIOD = 2.0
    MARKS = True
    EMPTY = "Nothing was set aside: every message could be taken or refused."
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("REASON", 13),
        Column("WHAT", 15),
        Column("AGE", 4, right=True),
        Column("TRIES", 5, right=True, least=66),
        Column("FROM", 14, grow=2, least=78),
        Column("WHY", 12, grow=3),
    )

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("quarantine.replay", "r", "try again", "Have these tried again; each passes every check anew",
            writes=True),
        Act("quarantine.drop", "X", "drop", "Forget these for good", writes=True),
        Act("quarantine.reason", "f", "reason", "Only those of one reason; again for the next"),
    )  # fmt: skip

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self._reason = ""
        self._contents: OrderedDict[tuple[str, int], list[Styled]] = OrderedDict()

    async def fetch(self) -> _Seen:
        async def look_at(store: Store) -> _Seen:
            rows = await quarantine.set_aside(store, limit=_LISTED, reason=self._reason)
            return _Seen(now(), tuple(rows), await quarantine.counts(store))

        return await self.site.read(look_at)

    # --- painting --------------------------------------------------------------------------------

    def rows(self, snapshot: _Seen) -> Sequence[Line]:
        return [_row(row, snapshot.at) for row in snapshot.rows]

    def caption(self, snapshot: _Seen) -> str:
        if self._reason:
            count = snapshot.counts.get(self._reason, 0)
            return f"only {self._reason} ({count} of {sum(snapshot.counts.values())}) · f: the next reason"
        if not snapshot.counts:
            return ""
        named = ", ".join(f"{count} {reason}" for reason, count in snapshot.counts.items())
        total = sum(snapshot.counts.values())
        return f"{total}: {named}" + (f" · the last {_LISTED} are listed" if total > _LISTED else "")

    def detail(self, snapshot: _Seen, key: Key) -> list[Styled]:
        row = next((one for one in snapshot.rows if one.key == key), None)
        if row is None:
            return ["It is not there any more."]
        content = self._contents.get((row.key, row.last_at))
        return [*_about(row, snapshot.at), *(content if content is not None else [("opening it ...", DIM)])]

    async def in_full(self, key: Key) -> list[Styled]:
        await self._open(cast("str", key))
        return self.detail(await self.fetch(), key)

    def title_of(self, key: Key) -> str:
        return str(key)[:8]

    def show_detail(self) -> None:
        """As everywhere; the content is read when somebody looks at it."""
        super().show_detail()
        key = self.table.key
        if key is not None and isinstance(self._painted, _Seen):
            row = next((one for one in self._painted.rows if one.key == key), None)
            if row is not None and (row.key, row.last_at) not in self._contents:
                self._look_into(row.key)

    def _look_into(self, key: str) -> None:
        async def look() -> None:
            await self._open(key)
            if self.is_attached and self.table.key == key:
                ListScreen.show_detail(self)

        # not a coroutine: one that is cancelled before it has begun would never be awaited
        worker: Worker[None] = self.run_worker(look, group="content", exclusive=True, exit_on_error=True)
        del worker

    async def _open(self, key: str) -> None:
        from caroni.errors import CaroniError

        try:
            shown = await self.site.read(lambda store: quarantine.show(store, key))
        except CaroniError:  # it is gone, or the database is: the list says so
            return
        self._contents[(key, shown.row.last_at)] = await asyncio.to_thread(_content, shown)
        while len(self._contents) > _KEPT:
            self._contents.popitem(last=False)

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        if act.id in ("quarantine.replay", "quarantine.drop") and self.table.key is None:
            return "nothing was set aside"
        return ""

    def _chosen(self) -> list[SetAside]:
        chosen = set(self.table.chosen())
        return [row for row in cast("_Seen", self._painted).rows if row.key in chosen]

    def do_replay(self) -> None:
        """Have the chosen ones tried again."""
        rows = self._chosen()

        async def dialogue() -> None:
            lines = [_named(row) for row in rows[:10]]
            lines += [f"and {len(rows) - 10} more"] if len(rows) > 10 else []
            if any(row.reason == "POISON" for row in rows):
                lines += ["", "What has ended the daemon before goes alone; it may end it again."]
            lines += ["", "What is refused again stays here, with the newer reason."]
            if await self.confirm(f"Have {_count(rows)} tried again?", lines):
                self._give("replay", rows)

        self.ask(dialogue)

    def do_drop(self) -> None:
        """Forget the chosen ones."""
        rows = self._chosen()

        async def dialogue() -> None:
            lines = [_named(row) for row in rows[:10]]
            lines += [f"and {len(rows) - 10} more"] if len(rows) > 10 else []
            if any(row.kind in ("workflow", "job") for row in rows):
                lines += ["", "Of a workflow or a job only this note goes, never its rows."]
            lines += ["", "A message that is dropped is lost here; whoever sent it may send it again."]
            if await self.confirm(f"Drop {_count(rows)} for good?", lines, phrase=f"drop {len(rows)}"):
                self._give("drop", rows)

        self.ask(dialogue)

    def _give(self, verb: str, rows: Sequence[SetAside]) -> None:
        site = self.site
        keys = [bytes.fromhex(row.key) for row in rows]

        async def act(store: Store) -> str:
            if verb == "drop":
                return f"{(await quarantine.drop(site.loaded, store, keys)).done} dropped"
            found = await quarantine.replay(site.loaded, store, keys)
            why = next(iter(found.refused.values()), "")
            again = f", {len(found.refused)} refused again: {why}" if found.refused else ""
            return f"{found.done} tried again and taken{again}"

        line = self.cli("quarantine", verb, *(row.key[:12] for row in rows))
        self.do("try again" if verb == "replay" else verb, line, lambda: site.write(act))
        self.table.marked.clear()
        self.table.refresh()

    def do_reason(self) -> None:
        """The next reason that there is; after the last, all."""
        counts = cast("_Seen", self._painted).counts if self._painted is not None else {}
        reasons = ["", *counts]
        place = reasons.index(self._reason) + 1 if self._reason in reasons else 0
        self._reason = reasons[place % len(reasons)]
        self.refetch()

    def leave(self) -> bool:
        if self._reason and not self._filter:
            self._reason = ""
            self.refetch()
            return False
        return super().leave()


# --- words ---------------------------------------------------------------------------------------


def _row(row: SetAside, at: int) -> Line:
    shown = look("failed" if row.reason in _OURS else "warning")
    reason: Cell = (f"{shown.glyph} {row.reason}", shown.style)
    why = row.error or row.meaning
    cells = (reason, row.kind, brief(at - row.last_at), str(row.tries), _sender(row), why)
    sort = (row.reason, row.kind, at - row.last_at, row.tries, row.sender, why)
    return Line(row.key, cells, sort=sort)


def _sender(row: SetAside) -> str:
    return row.sender.removeprefix("caroni://") or ("ourselves" if row.kind == "outgoing" else "not proven")


def _count(rows: Sequence[SetAside]) -> str:
    return _named(rows[0]) if len(rows) == 1 else f"{len(rows)} of these"


def _named(row: SetAside) -> str:
    return f"{row.key[:8]} {row.kind} ({row.reason})"


def _about(row: SetAside, at: int) -> list[Styled]:
    shown = look("failed" if row.reason in _OURS else "warning")
    lines: list[Styled] = [
        (f"{shown.glyph} {row.reason}" + (f": {row.meaning}" if row.meaning else ""), shown.style)
    ]
    if row.error:
        lines.append(f"error     {said(row.error, _ERROR)}")
    lines += [
        f"what      {row.kind}",
        f"from      {row.sender or _sender(row)}",
        f"set aside {ago(row.last_at, at)} ({to_text(row.last_at)}), {plural(row.tries, 'try', 'tries')}"
        + (f", first {ago(row.first_at, at)}" if row.first_at != row.last_at else ""),
        f"key       {row.key}",
    ]
    if len(row.error) > _ERROR:
        lines.append(f"in full   {row.error}")
    return lines


def _content(shown: Shown) -> list[Styled]:
    """What is in it, as far as it can be opened; none of it is believed."""
    lines: list[Styled] = [
        (f"its content, {size(shown.size)}; none of it is verified or believed:", BOLD + DIM)
    ]
    if shown.error:
        lines.append(f"  {shown.error}")
    for name, value in shown.claims.items():
        lines += _value(f"claims {name}", value)
    for message in shown.messages:
        lines.append((f"{message['type'] or 'message'}, {size(message['size'])}", BOLD))
        if message["error"]:
            lines += [f"  {message['error']}", f"  begins (base64): {message['head']}"]
        for name, value in message["fields"].items():
            lines += _value(name, value)
        if len(lines) > _CONTENT:
            break
    if shown.more:
        lines.append(f"and {plural(shown.more, 'more message')}")
    if len(lines) > _CONTENT:
        lines = [*lines[:_CONTENT], ("and more: caroni quarantine show KEY", DIM)]
    return lines


def _value(name: str, value: Any) -> list[Styled]:
    if isinstance(value, dict | list) and value:
        text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
        first, *rest = text.splitlines()[: _CONTENT + 1]
        return [f"  {name}: {first}", *(f"  {line}" for line in rest)]
    return [f"  {name}: {value if isinstance(value, str) else json.dumps(value, default=str)}"]
