"""Who is here and who is silent, what may come from them, and how agents answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from caroni.core.commands import Command, Drain, GoOffline, GoOnline, Undrain
from caroni.core.plan import SECOND
from caroni.services import control
from caroni.services.peers import AGREES, Facts, PeerShown, clock_in_words, facts_of, peers, with_facts
from caroni.services.stores import now
from caroni.services.words import ago, ahead, brief, plural, span, until
from caroni.trust.instants import to_text
from caroni.tui.acts import Act
from caroni.tui.glyphs import look, mark
from caroni.tui.paint import BOLD, DIM
from caroni.tui.screens.ask import AskScreen, Field
from caroni.tui.screens.listing import ListScreen
from caroni.tui.widgets.lines import Styled
from caroni.tui.widgets.table import Cell, Column, Key, Line

if TYPE_CHECKING:
    from caroni.model.store import Store

#: seconds after which trust, clocks and answers are looked at again
_FACTS = 15.0
#: a look may take this share of the time
_SHARE = 0.05


class _Seen(msgspec.Struct, frozen=True):
    at: int
    peers: tuple[PeerShown, ...]
    #: this agent itself
    own: control.AgentShown | None = None


class PeersScreen(ListScreen):
    """One line for everybody who was ever heard, or something waits for."""

    NAME = "peers"
    PERIOD = 2.0
    EMPTY = "Nobody was ever heard. 5 shows trust, 9 health."
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("STATE", 10),
        Column("NAME", 14, grow=3),
        Column("SITE", 11, grow=1, least=66),
        Column("HEARD", 5, right=True),
        Column("JOBS", 4, right=True),
        Column("ANSW", 4, right=True, least=88),
        Column("DECL", 4, right=True, least=88),
        Column("OFFER", 5, right=True, least=88),
        Column("TRUST", 9, least=78),
        Column("TROUBLE", 12, grow=4),
    )

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("peers.trace", "t", "trace", "The messages between us and this peer"),
        Act("peers.drain", "D", "drain", "Take nothing new and finish what is here; again to take work",
            writes=True),
        Act("peers.away", "o", "away", "Announce an absence; again to be back", writes=True),
    )  # fmt: skip

    def __init__(self, site: object) -> None:
        super().__init__(site)
        self._facts: Facts | None = None
        self._facts_at = 0.0
        self._took = 0.0
        self._own: control.AgentShown | None = None

    @property
    def period(self) -> float:
        return max(super().period, self._took / _SHARE)

    async def fetch(self) -> _Seen:
        begun = time.monotonic()
        loaded = self.site.loaded

        async def look_at(store: Store) -> _Seen:
            at = now()
            if self._facts is None or begun > self._facts_at + _FACTS:
                self._facts, self._facts_at = await facts_of(loaded, store), begun
            found = await peers(store, at, silence=loaded.config.manager.suspect_after)
            own = await control.shown_agent(loaded, store) if store.role == "agent" else None
            return _Seen(at, tuple(with_facts(found, self._facts)), own)

        seen = await self.site.read(look_at)
        self._took, self._own = time.monotonic() - begun, seen.own
        return seen

    def do_refresh(self) -> None:
        """Now, with trust and clocks."""
        self._facts = None
        super().do_refresh()

    # --- painting --------------------------------------------------------------------------------

    def rows(self, snapshot: _Seen) -> Sequence[Line]:
        return [_row(peer, snapshot.at) for peer in snapshot.peers]

    def caption(self, snapshot: _Seen) -> str:
        own, at = snapshot.own, snapshot.at
        if own is None:
            return ""
        state = mark("presence", own.state).text
        parts = [f"this agent: {state}", f"{plural(own.running, 'job')} running, {own.waiting} waiting"]
        if own.until:
            parts[0] += f" {until(own.until, at)}"
        elif own.state == "draining" and own.drain_deadline:
            parts.append(f"what is left is killed {ahead(own.drain_deadline, at)}")
        elif own.window[0] > at:
            parts.append(f"next absence {ahead(own.window[0], at)}")
        return " · ".join(parts)

    def detail(self, snapshot: _Seen, key: Key) -> list[Styled]:
        peer = next((one for one in snapshot.peers if one.uri == key), None)
        return _detail(peer, snapshot.at) if peer is not None else ["It is not known any more."]

    def title_of(self, key: Key) -> str:
        return _named(str(key))[1]

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        if act.id == "peers.trace" and self.table.key is None:
            return "there is no peer"
        if act.id in ("peers.drain", "peers.away") and self.site.role != "agent":
            return "an agent does this itself: attach its configuration, too (--config), and press w"
        return ""

    def do_trace(self) -> None:
        """Its messages."""
        from caroni.tui.screens.trace import TraceScreen

        self.host.open(TraceScreen(self.site, peer=cast("str", self.table.key)))

    def do_drain(self) -> None:
        """Drain or undrain, after asking."""
        own = self._own
        draining = own is not None and own.state == "draining"

        async def undrain() -> None:
            if await self.confirm(f"Have {self.site.name} take work again?", []):
                self._give("take work again", Undrain(), "undrain")

        async def drain() -> None:
            typed = await self._typed(
                f"Drain {self.site.name}?",
                [
                    "It takes nothing new and finishes what it has, until it is told otherwise.",
                    *([f"{plural(own.running, 'job')} running, {own.waiting} waiting."] if own else []),
                ],
                Field("deadline", "Kill what is left after (empty: never)", "e.g. 2h"),
                empty=True,
            )
            if typed is None:
                return
            lines = ["Nothing new is taken. What runs may end."]
            if typed:
                lines.append(
                    f"What is left after {span(_micros(typed))} is killed and tried again elsewhere."
                )
            if await self.confirm(f"Drain {self.site.name} now?", lines):
                words = ["drain", *(["--deadline", typed] if typed else [])]
                self._give("drain", Drain(deadline=_micros(typed) if typed else 0), *words)

        self.ask(undrain if draining else drain)

    def do_away(self) -> None:
        """Announce an absence, or end it."""
        own = self._own
        away = own is not None and own.state == "offline"

        async def online() -> None:
            lines = ["An absence that the schedule has goes on."]
            if await self.confirm(f"{self.site.name} is back?", lines):
                self._give("be back", GoOnline(), "presence", "online")

        async def offline() -> None:
            typed = await self._typed(
                f"How long will {self.site.name} be away?",
                ["Managers wait so long with giving its jobs up; nothing new begins meanwhile."],
                Field("for", "For", "e.g. 12h or 3d"),
            )
            if typed and await self.confirm(
                f"{self.site.name} is away for {span(_micros(typed))}?", ["It is told to all managers."]
            ):
                self._give(
                    "be away", GoOffline(duration=_micros(typed)), "presence", "offline", "--for", typed
                )

        self.ask(online if away else offline)

    async def _typed(self, title: str, lines: list[str], field: Field, empty: bool = False) -> str | None:
        """A duration as it was typed; None: escape."""

        def wrong(typed: dict[str, str]) -> str:
            value = typed[field.name]
            try:
                return "" if (not value and empty) or _micros(value) > 0 else "longer than nothing"
            except ValueError as error:
                return str(error)

        typed: dict[str, str] | None = await self.host.push_screen_wait(
            AskScreen(title, lines, [field], wrong)
        )
        return None if typed is None else typed[field.name]

    def _give(self, label: str, command: Command, *words: str) -> None:
        site = self.site

        async def act(store: Store) -> str:
            await control.give(site.loaded, store, command)
            shown = await control.shown_agent(site.loaded, store)
            return f"{site.name} is {shown.state}" + (f" {until(shown.until, now())}" if shown.until else "")

        self.do(label, self.cli(*words), lambda: site.write(act))


def _micros(text: str) -> int:
    from caroni.config.units import parse_duration

    return parse_duration(text)


# --- words ---------------------------------------------------------------------------------------


def _row(peer: PeerShown, at: int) -> Line:
    state: Cell = (peer.role, DIM)  # only agents say whether they are here
    if peer.state:
        shown = mark("presence", peer.state)
        state = (shown.text, shown.style)
    site, name = _named(peer.uri)
    wrong = _wrong(peer, at)
    answers, trust = peer.answers, _trust(peer)
    offer = f"{answers.offer_time / 1e6:.1f}s" if answers is not None and answers.offer_time else ""
    jobs = sum(peer.jobs.values())
    return Line(
        peer.uri,
        (
            state,
            name,
            site,
            brief(at - peer.last_contact) if peer.last_contact else "never",
            str(jobs) if jobs else "",
            _share(answers.answered, answers.asked) if answers is not None else "",
            _share(answers.declined, answers.asked) if answers is not None else "",
            offer,
            trust,
            "; ".join(wrong),
        ),
        sort=(
            peer.state or peer.role,
            name,
            site,
            at - peer.last_contact,
            jobs,
            answers.answered / max(answers.asked, 1) if answers is not None else -1.0,
            answers.declined / max(answers.asked, 1) if answers is not None else -1.0,
            answers.offer_time if answers is not None else 0,
            trust[0] if isinstance(trust, tuple) else trust,
            -len(wrong),
        ),
    )


def _named(uri: str) -> tuple[str, str]:
    """Site and name; of a peer without a certificate only what it calls itself."""
    if uri.startswith("caroni://"):
        site, _, rest = uri.removeprefix("caroni://").partition("/")
        return site, rest.partition("/")[2]
    return "", uri


def _trust(peer: PeerShown) -> Cell:
    if peer.allowed is None:
        return "?"
    shown = look("done" if peer.allowed else "failed")
    return (f"{shown.glyph} {'allowed' if peer.allowed else 'denied'}", shown.style)


def _share(part: int, whole: int) -> str:
    return f"{round(100 * part / whole)}%" if whole else ""


def _wrong(peer: PeerShown, at: int) -> list[str]:
    found = []
    if peer.allowed is False:
        found.append(peer.standing)
    if peer.unsent:
        found.append(f"{peer.unsent} unsent for {brief(at - peer.unsent_since)}")
    if peer.clock is not None and abs(peer.clock) > AGREES:
        found.append(f"clock {clock_in_words(peer.clock)}")
    if peer.gaps:
        found.append(f"{plural(peer.gaps, 'message')} lost")
    if peer.put_back_at:
        found.append(f"put back {ago(peer.put_back_at, at)}")
    if peer.state == "silent":
        found.append("says nothing")
    return found


def _detail(peer: PeerShown, at: int) -> list[Styled]:
    lines: list[Styled] = [(peer.uri, BOLD)]

    def say(name: str, text: str) -> None:
        if text:
            lines.append(f"{name:<9} {text}")

    sign = look("warning")
    lines += [(f"{sign.glyph} {trouble}", sign.style) for trouble in _wrong(peer, at)]
    if peer.state:
        shown = mark("presence", peer.state)
        said = "" if peer.presence in ("unknown", peer.state) else f"; it last said: {peer.presence}"
        say("presence", f"{shown.text}{said}")
    if peer.last_contact:
        say("heard", f"{ago(peer.last_contact, at)} ({to_text(peer.last_contact)})")
    else:
        say("heard", "never")
    if peer.allowed:
        say("trust", f"{look('done').glyph} allowed by {peer.rule}: {peer.standing}")
    elif peer.allowed is False:
        say("trust", f"{look('failed').glyph} denied: {peer.standing}")
    else:
        say("trust", f"not known: {peer.standing}")
    say("jobs", ", ".join(f"{count} {state}" for state, count in sorted(peer.jobs.items())) or "none alive")
    lines += _answers(peer, at)
    say("clock", _clock(peer))
    if peer.unsent:
        say("unsent", f"{plural(peer.unsent, 'message')}, the oldest of {ago(peer.unsent_since, at)}")
    if peer.gaps:
        say("gaps", f"{plural(peer.gaps, 'number')} of its messages never came: a broker lost them")
    if peer.put_back_at:
        say("put back", f"its database is older than what it has said; noticed {ago(peer.put_back_at, at)}")
    if peer.first_contact:
        say("first", f"heard {ago(peer.first_contact, at)} ({to_text(peer.first_contact)})")
    if peer.stream:
        say("stream", f"{peer.stream}, number {peer.sequence}")
    if peer.boot.strip("0"):
        say("boot", peer.boot)
    if peer.reported_at:
        say("report", f"of its jobs {ago(peer.reported_at, at)}")
    return lines


def _clock(peer: PeerShown) -> str:
    if peer.clock is None:
        return "not known: no recent message says when it was sent"
    took = f"{peer.clock / 1e6:.1f} s" if abs(peer.clock) >= SECOND else f"{peer.clock / 1e3:.0f} ms"
    return f"{clock_in_words(peer.clock)}; its quickest recent message took {took} by both clocks"


def _answers(peer: PeerShown, at: int) -> list[Styled]:
    if peer.role != "agent" or (one := peer.answers) is None:
        return []
    reasons = ", ".join(f"{count} {why}" for why, count in one.declines.items())
    offer = f", typically {one.offer_time / 1e6:.1f} s after the request" if one.offer_time else ""
    return [
        f"answers   {_share(one.answered, one.asked)}: {one.answered} of {plural(one.asked, 'request')}"
        " of its job types",
        f"  offers  {one.offered}, {one.taken} taken{offer}",
        f"  no      {one.declined}" + (f": {reasons}" if reasons else ""),
        (f"  (of the last {plural(one.requests, 'request')}, since {ago(one.since, at)})", DIM),
    ]
