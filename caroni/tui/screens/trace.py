"""The messages between managers and agents: a sequence or a list, live and back through the ledger."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.containers import Container
from textual.worker import Worker

from caroni.errors import CaroniError
from caroni.services.messagewords import brief, short_name
from caroni.services.tapping import CLOSED, FIRST_TAPPED
from caroni.services.traced import TraceEntry, TraceFilter
from caroni.services.tracewords import clock
from caroni.tui import tracefiles
from caroni.tui.acts import Act
from caroni.tui.glyphs import drawn
from caroni.tui.paint import BOLD, DIM, PLAIN
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.screens.detail import DetailScreen
from caroni.tui.site import Site
from caroni.tui.tracebook import Key, Shown
from caroni.tui.tracefilter import described, parsed
from caroni.tui.tracerows import COLUMNS, row_of, styled
from caroni.tui.tracesource import State, TraceSource
from caroni.tui.widgets.lines import Lines, Styled
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.sequence import SequenceView, at_manager, entry_key
from caroni.tui.widgets.table import Line, LineTable

if TYPE_CHECKING:
    from caroni.services.tracefile import Exported

#: seconds that the cursor rests before the message under it is opened beside the list
_REST = 0.15


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found."""

    shown: Shown
    state: State
    filter: TraceFilter
    words: str


class TraceScreen(ConsoleScreen):
    """From the ledger of this site, with what passes the broker beside it; or from a file.

    Args:
        site: whose ledger.
        workflow: only of this workflow, its id in hexadecimal.
        step: only of this step of it.
        job: only of the conversation about this job, its id in hexadecimal.
        peer: only from or to this peer (a part of the URI).
        exported: a file, in place of ledger and broker.
        name: the file's name.
    """

    NAME = "trace"
    PERIOD = 1.0

    DEFAULT_CSS = """
    TraceScreen #messages { layout: vertical; height: 1fr; }
    TraceScreen #messages LineTable { width: 1fr; height: 3fr; min-height: 6; }
    TraceScreen #opened { height: 2fr; border-top: solid $panel; }
    TraceScreen.-wide #messages { layout: horizontal; }
    TraceScreen.-wide #messages LineTable { height: 1fr; }
    TraceScreen.-wide #opened { width: 52; height: 1fr; border-top: none; border-left: solid $panel;
                                padding-left: 1; }
    TraceScreen.-narrow #opened { display: none; }
    TraceScreen Note.-off { display: none; }
    """

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("trace.view", "v", "list/sequence", "Show a list, or a sequence between manager and agents"),
        Act("trace.failed", "f", "failed", "Only what was refused, set aside or badly signed, or all"),
        Act("trace.talk", "c", "conversation", "Only the conversation of this message, or all"),
        Act("trace.next-talk", "right_square_bracket", "next", "To the next conversation", show=False),
        Act("trace.previous-talk", "left_square_bracket", "last", "To the one before", show=False),
        Act("trace.peer", "P", "peer", "Only from and to the peer of this message, or all", show=False),
        Act("trace.type", "T", "type", "Only messages of this type, or all", show=False),
        Act("trace.export", "x", "export", "Write these messages to a file that can be verified elsewhere"),
        Act("trace.open", "o", "open file", "Open a file that was exported"),
        Act("trace.copy", "y", "copy", "Copy the message to the terminal's clipboard (OSC 52)", show=False),
    )

    def __init__(
        self,
        site: Site,
        *,
        workflow: str = "",
        step: str = "",
        job: str = "",
        peer: str = "",
        exported: Exported | None = None,
        name: str = "",
    ) -> None:
        super().__init__(site)
        self._base = TraceFilter(
            workflow=bytes.fromhex(workflow), step=step, job=bytes.fromhex(job), peer=peer
        )
        self._filter = self._base
        #: by keys (P, T, c, f), before what was typed is laid over it
        self._picked = self._base
        self._typed = ""
        self._words = ""
        self._exported = exported
        self._name = name
        self._source: TraceSource | None = None
        #: which filter the window was read for; None: it is to be read anew
        self._read_for: TraceFilter | None = None
        self._older = False
        #: the conversations among which ``[`` and ``]`` go while only one is shown
        self._talks: list[str] = []
        self._painted: Snapshot | None = None
        self._entries: dict[object, TraceEntry] = {}
        self._rows: dict[Key, tuple[TraceEntry, int | None, Line]] = {}
        self._detail: tuple[object, list[Styled]] = (None, [])

    # --- frame -----------------------------------------------------------------------------------

    def crumb(self) -> str:
        return f"trace {self._name}" if self._exported is not None else "trace"

    def body(self) -> ComposeResult:
        yield Note(id="how")
        yield Note(id="which", dim=True)
        with Container(id="messages"):
            yield SequenceView(classes="main")
            table = LineTable(COLUMNS, empty="Looking ...", id="list")
            table.display = False
            yield table
            yield Lines(wrap=True, id="opened")

    def on_mount(self) -> None:
        """Listen while this is shown."""
        tap = self.host.tap
        self._source = TraceSource(self.site, tap, self._exported)
        if tap is not None and self._exported is None and tap.state == CLOSED:
            self.host.run_worker(tap.start(), group="tap", exit_on_error=True)
        self._start_reading()

    async def on_unmount(self) -> None:
        """Stop listening with the last trace on the screen."""
        tap = self.host.tap
        others = [s for s in self.host.screen_stack if isinstance(s, TraceScreen) and s is not self]
        if tap is not None and not others:
            await tap.close()

    @property
    def period(self) -> float:
        live = self.host.tap is not None and self.host.tap.state == "live"
        return (0.5 if live else self.PERIOD) * (2 if self.host.slow else 1)

    @property
    def view(self) -> LineTable:
        """The sequence or the list, whichever is shown."""
        sequence = self.query_one(SequenceView)
        return sequence if sequence.display else self.query_one("#list", LineTable)

    # --- reading ---------------------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        source = self._source
        assert source is not None
        while True:
            wanted, older = self._filter, self._older
            if self._read_for != wanted:
                await source.begin(wanted)
                self._read_for = wanted
            elif older:
                self._older = False
                if not source.book.at_start:
                    await source.earlier(wanted)
            if not self.frozen or self._painted is None:
                await source.go_on(wanted)
                await source.verify(self._in_sight())
            if self._filter == wanted:  # it may have been changed meanwhile
                break
        found = Snapshot(
            shown=source.book.shown(wanted, self._words),
            state=source.state(),
            filter=wanted,
            words=self._words,
        )
        if self.frozen and (older or self._painted is None or self._painted.filter != wanted):
            # a held picture stays where it is, but one can look around in it
            self.paint(found)
        return found

    def _in_sight(self) -> list[TraceEntry]:
        view = self.view
        top = int(view.scroll_offset.y)
        lines = view.lines[top : top + max(view.size.height, 1)]
        return [entry for line in lines if (entry := self._entries.get(line.key)) is not None]

    # --- painting --------------------------------------------------------------------------------

    def paint(self, snapshot: Snapshot) -> None:
        view, first = self.view, self._painted is None
        follow = first or view.row >= len(view.lines) - 1
        if self._painted is not None and self._painted.filter != snapshot.filter:
            follow = True
        self._painted = snapshot
        entries = snapshot.shown.entries
        took = snapshot.shown.took
        self._entries = {entry.key: entry for entry in entries}
        rows = [self._row(entry, took.get(entry.key)) for entry in entries]
        if len(self._rows) > 4 * len(rows) + 1000:
            self._rows = {
                entry.key: (entry, took.get(entry.key), row) for entry, row in zip(entries, rows, strict=True)
            }
        empty = self._empty(snapshot)
        for table in (self.query_one(SequenceView), self.query_one("#list", LineTable)):
            table.empty = empty
        if isinstance(view, SequenceView):
            view.set_messages(rows, self._entries, took)
        else:
            view.set_rows(rows)
        if follow:
            view.do_bottom()
        self._say(snapshot)
        self._show_detail()

    def _row(self, entry: TraceEntry, took: int | None) -> Line:
        known = self._rows.get(entry.key)
        if known is not None and known[0] is entry and known[1] == took:
            return known[2]
        row = row_of(entry, took)
        self._rows[entry.key] = (entry, took, row)
        return row

    def _empty(self, snapshot: Snapshot) -> str:
        if described(snapshot.filter, snapshot.words, None):
            return "No message is like that. esc shows more."
        if self._exported is not None:
            return "The file holds no messages."
        return "No messages yet: they come when a workflow runs."

    def _say(self, snapshot: Snapshot) -> None:
        state = snapshot.state
        how, which = self.query_one("#how", Note), self.query_one("#which", Note)
        if self._exported is not None:
            whose = short_name(self._exported.own_uri)
            text = f"file {self._name} of {whose}, written {clock(self._exported.at)[:19]}"
            how.say(f"{text} · {len(snapshot.shown.entries)} messages", BOLD)
        else:
            text = "live from the broker" if state.live else "ledger"
            text += f" · {state.rate:.0f} msg/s"
            if state.live:
                text += f" · {state.dropped} dropped"
            else:
                text += f" · not live: {state.reason}"
            how.say(f" {drawn('●' if state.live else '○')} {text}", PLAIN if state.live else DIM)
        known = snapshot.shown.entries[-1] if snapshot.shown.entries else None
        words = described(snapshot.filter, snapshot.words, known)
        if not snapshot.shown.whole_end:
            words = " · ".join(part for part in (words, "newer messages are below: G") if part)
        which.say(f"   {words}")
        which.set_class(not words, "-off")

    # --- the message under the cursor --------------------------------------------------------------

    def on_line_table_moved(self, event: LineTable.Moved) -> None:
        """Open it beside, and read on at the top."""
        event.stop()
        view = self.view
        if event.table is not view:
            return
        self._show_detail()
        source = self._source
        if view.row == 0 and len(view.lines) > 1 and source is not None and not source.book.at_start:
            self._older = True
            self.refetch()

    def _show_detail(self) -> None:
        beside = self.query_one("#opened", Lines)
        key = self.view.key
        if not beside.display or self.has_class("-narrow"):
            return
        if key is None:
            self._detail = (None, [])
            beside.set_lines([])
        elif self._detail[0] != key:

            async def opening() -> None:
                await self._open_beside(key)

            # the function: where it is overtaken before it began nothing is left behind
            _: Worker[None] = self.run_worker(opening, group="detail", exclusive=True)

    async def _open_beside(self, key: object) -> None:
        await asyncio.sleep(_REST)
        try:
            told = await self._told(key)
        except CaroniError as error:
            told = [(str(error), DIM)]
        if self.view.key == key:
            self._detail = (key, told)
            beside = self.query_one("#opened", Lines)
            beside.set_lines(told)
            beside.scroll_to(y=0, animate=False, force=True)

    async def _told(self, key: object) -> list[Styled]:
        assert self._source is not None
        return styled(await self._source.message(entry_key(key), self._entries.get(key)))

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        """The message on a screen of its own."""
        event.stop()
        key = event.key
        entry = self._entries.get(key)
        title = (brief(entry.type) or entry.kind) if entry is not None else "message"
        self.host.open(DetailScreen(self.site, title, lambda: self._told(key)))

    # --- filters -----------------------------------------------------------------------------------

    def _pick(self, **changes: object) -> None:
        self._picked = msgspec.structs.replace(self._picked, **changes)
        self._apply()

    def _apply(self) -> None:
        self._filter, self._words = parsed(self._typed, self._picked)
        self.refetch()

    def find(self, text: str, final: bool) -> None:
        self._typed = text
        self._apply()

    def find_next(self, direction: int) -> None:
        if direction > 0:
            self.view.do_down()
        else:
            self.view.do_up()

    def leave(self) -> bool:
        if self._typed or self._picked != self._base:
            self._typed = self._sought = ""
            self._picked = self._base
            self._talks = []
            self._apply()
            return False
        return True

    @property
    def _entry(self) -> TraceEntry | None:
        key = self.view.key
        return self._entries.get(key) if key is not None else None

    def reason(self, act: Act) -> str:
        """What needs a message, or a ledger."""
        what = act.what
        if what == "export" and self._exported is not None:
            return "this is a file already"
        if what == "talk" and not self._picked.conversation:
            entry = self._entry
            if entry is None or not entry.conversation:
                return "this message belongs to no conversation"
        if what in ("peer", "type", "copy") and self._entry is None and not getattr(self._picked, what, ""):
            return "there is no message"
        return super().reason(act)

    def do_failed(self) -> None:
        """Toggle."""
        self._pick(failed=not self._picked.failed)

    def do_peer(self) -> None:
        """The other side of the message: the one at the right."""
        entry = self._entry
        if self._picked.peer != self._base.peer:
            self._pick(peer=self._base.peer)
        elif entry is not None:
            other = entry.receiver if at_manager(entry.sender) and "*" not in entry.receiver else entry.sender
            self._pick(peer=other)

    def do_type(self) -> None:
        """The message's own type."""
        entry = self._entry
        if self._picked.type:
            self._pick(type="")
        elif entry is not None and entry.type:
            self._pick(type=entry.type)

    def do_talk(self) -> None:
        """Toggle."""
        if self._picked.conversation:
            self._talks = []
            self._pick(conversation=b"")
            return
        entry = self._entry
        if entry is not None and entry.conversation:
            self._talks = self._conversations()
            self._pick(conversation=bytes.fromhex(entry.conversation))

    def _conversations(self) -> list[str]:
        """Those of the window, in the order in which they began."""
        return list(dict.fromkeys(e.conversation for e in self._entries.values() if e.conversation))

    def do_next_talk(self) -> None:
        """Forward."""
        self._go_to_talk(1)

    def do_previous_talk(self) -> None:
        """Back."""
        self._go_to_talk(-1)

    def _go_to_talk(self, direction: int) -> None:
        alone = bool(self._picked.conversation)
        talks = self._talks if alone else self._conversations()
        entry = self._entry
        here = self._picked.conversation.hex() if alone else entry.conversation if entry is not None else ""
        if not talks:
            return
        place = talks.index(here) + direction if here in talks else (0 if direction > 0 else len(talks) - 1)
        if not 0 <= place < len(talks):
            self.host.say("there is no further conversation here", "warning")
        elif alone:
            self._pick(conversation=bytes.fromhex(talks[place]))
        else:
            first = next(key for key, e in self._entries.items() if e.conversation == talks[place])
            self.view.move_to(entry_key(first))

    # --- acts --------------------------------------------------------------------------------------

    def do_view(self) -> None:
        """The other of the two, at the same message."""
        sequence, table = self.query_one(SequenceView), self.query_one("#list", LineTable)
        before = self.view
        after = table if before is sequence else sequence
        key = before.key
        before.display, after.display = False, True
        before.remove_class("main")
        after.add_class("main")
        if self._painted is not None:
            self.paint(self._painted)
        if key is not None:
            after.move_to(key)
        after.focus()

    def do_freeze(self) -> None:
        """Hold or go on; what came meanwhile is read then."""
        super().do_freeze()
        if not self.frozen:
            self.refetch()

    def do_export(self) -> None:
        """Ask where to, and write."""
        notes = [f"Only: {words}."] if (words := described(self._filter, "", self._entry)) else []
        if any(entry.rev > FIRST_TAPPED for entry in self._entries.values()):
            notes.append("Messages of others that were only seen passing are not in it.")
        tracefiles.export_dialogue(self, self._filter, notes)

    def do_open(self) -> None:
        """Ask which, and show it."""
        tracefiles.open_dialogue(
            self,
            lambda opened, name: self.host.open(TraceScreen(self.site, exported=opened, name=name)),
        )

    def do_copy(self) -> None:
        """In full, to the clipboard, where the terminal lets us."""
        key = self.view.key
        if key is None:
            return

        async def copy() -> None:
            told = await self._told(key)
            self.host.copy_to_clipboard(
                "\n".join(line if isinstance(line, str) else line[0] for line in told)
            )
            self.host.say("copied, if the terminal allows it")

        self.ask(copy)
