"""``caroni trace``: what managers and agents say to each other, from a ledger, a file, or the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.errors import CaroniError, UsageError

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.model.store import Store
    from caroni.services.traced import Decoded, TraceEntry, TraceFilter

app = group()

#: seconds between two looks at a ledger, and at what the broker has brought
_PAUSE = 0.5
#: messages on a page of the ledger
_PAGE = 500


@app.command(
    epilog=example(
        "caroni trace nightly --step align --config m1",
        "caroni trace --failed --follow --json --config m1 | jq .verdict",
        "caroni trace --live --type Decline --config m1",
        "caroni trace --message 1718 --config m1",
        "caroni trace nightly --export nightly.trace --config m1",
        "caroni trace --file nightly.trace --message 1718 --config g1",
    )
)
def trace(
    which: Annotated[
        str | None,
        typer.Argument(
            help="Of one workflow: its id, its first characters, or its name (a manager's configuration).",
            metavar="[WORKFLOW]",
            show_default=False,
        ),
    ] = None,
    step: Annotated[str, typer.Option(help="Only of this step of WORKFLOW.", show_default=False)] = "",
    job: Annotated[str, typer.Option(help="Only of this job, by its id.", show_default=False)] = "",
    peer: Annotated[
        str, typer.Option(help="Only from or to whose URI contains this.", show_default=False)
    ] = "",
    type_: Annotated[
        str, typer.Option("--type", help="Only messages whose name contains this.", show_default=False)
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only what was refused or set aside.")] = False,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=100_000)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Listen on the broker: messages of everybody, from now on.")
    ] = False,
    message: Annotated[
        int | None,
        typer.Option(help="Show this one in full, verified again now.", metavar="NUMBER", show_default=False),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write sealed messages to a new file.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Read a file that --export has written.", show_default=False)
    ] = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show the messages between manager and agents: who said what to whom, how long the answer took.

    Everything sealed that came or left stands in the ledger. With --live messages of others pass, too, and
    nothing is taken from anybody; the broker's user must be allowed to read the exchange.
    """
    from caroni import logs
    from caroni.services.traced import TraceFilter

    logs.configure("error", "human")
    if sum((follow, live, message is not None, export is not None)) > 1:
        raise UsageError("--follow, --live, --message and --export are one or the other")
    if step and which is None and file is None:
        raise UsageError("--step is one of a workflow: name the workflow, too")
    filter = TraceFilter(step=step, peer=peer, type=type_, failed=failed)
    show = _JsonShown(stream=follow or live) if json else _Shown(stream=follow or live)
    if file is not None:
        _of_file(file, config, filter, which, job, limit, message, show, (follow, live, export))
        return
    work = _Work(_loaded(config, live), filter, which, job, show)
    if live:
        asyncio.run(work.live())
    elif message is not None:
        show.message(asyncio.run(work.message(message)))
    elif export is not None:
        written = asyncio.run(work.export(export, None if limit == 50 else limit))
        show.note(f"{written} messages written to {export}", {"written": written, "file": str(export)})
    else:
        asyncio.run(work.pages(limit, follow))


def _loaded(config: Path | None, live: bool) -> Loaded:
    from caroni.config import load_config

    loaded = load_config(config)
    if loaded.config.role == "submitter" and not live:
        raise UsageError(
            f"{loaded.path} is the configuration of a submitter, who keeps no ledger: try --live"
        )
    return loaded


class _Work:
    """One run of the command on a daemon's configuration."""

    def __init__(
        self, loaded: Loaded, filter: TraceFilter, which: str | None, job: str, show: _Shown | _JsonShown
    ) -> None:
        self._loaded = loaded
        self._filter = filter
        self._which = which
        self._job = job
        self._show = show

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Store]:
        from caroni.services.control import to_daemon

        async with to_daemon(self._loaded, read_only=True) as store:
            self._filter = await self._named(store)
            yield store

    async def _named(self, store: Store) -> TraceFilter:
        import msgspec

        from caroni.services.jobs import find_job
        from caroni.services.workflows import find_workflow

        changes: dict[str, Any] = {}
        if self._which is not None:
            if store.role != "manager":
                raise UsageError("an agent does not know workflows: leave WORKFLOW out, or try --job")
            changes["workflow"] = await find_workflow(store, self._which)
        if self._job:
            changes["job"] = (await find_job(store, self._job))[1]
        return msgspec.structs.replace(self._filter, **changes)

    async def pages(self, limit: int, follow: bool) -> None:
        """The newest messages, and with ``follow`` those that come."""
        from caroni.services.ledger import trace

        own = self._loaded.config.uri
        async with self._opened() as store:
            found: list[TraceEntry] = []
            before: int | None = None
            while len(found) < limit:
                wanted = min(limit - len(found), _PAGE)
                page = await trace(store, own, self._filter, before=before, limit=wanted)
                found = page + found
                if len(page) < wanted:
                    break
                before = page[0].rev
            self._show.entries(found)
            last = found[-1].rev if found else store.rev
            while follow:
                await asyncio.sleep(_PAUSE)
                page = await trace(store, own, self._filter, after=max(last, 1), limit=_PAGE)
                if page:
                    last = page[-1].rev
                    self._show.entries(page)

    async def message(self, rev: int) -> Decoded:
        """One message in full."""
        from caroni.services.ledger import message

        async with self._opened() as store:
            return await message(self._loaded, store, rev)

    async def export(self, path: Path, limit: int | None) -> int:
        """Write a file."""
        from caroni.services.traceexport import export
        from caroni.services.tracefile import MAX_MESSAGES

        async with self._opened() as store:
            return await export(
                store, self._loaded.config.uri, path, self._filter, limit=limit or MAX_MESSAGES
            )

    async def live(self) -> None:
        """What passes the broker, until it is interrupted."""
        from caroni.cli.consoletap import broker_tap
        from caroni.services.belonging import Belonging
        from caroni.services.opening import auditor_of
        from caroni.services.tapping import LIVE, NOT_PERMITTED, TapReader

        config = self._loaded.config
        tap = broker_tap(self._loaded)
        async with contextlib.AsyncExitStack() as stack:
            store = None if config.role == "submitter" else await stack.enter_async_context(self._opened())
            belonging = Belonging(store) if store is not None else None
            reader = TapReader(await auditor_of(self._loaded, store))
            stack.push_async_callback(tap.close)
            await tap.start()
            told = ""
            while True:
                if tap.state == NOT_PERMITTED:
                    raise CaroniError(f"{tap.reason}: without --live there is the ledger")
                reason = "" if tap.state == LIVE else tap.reason
                if reason != told:
                    output.note(reason or "listening")
                    told = reason
                entries = reader.entries(tap.drain())
                if belonging is not None:
                    entries = await belonging.fill(entries)
                self._show.entries([entry for entry in entries if self._filter.passes(entry)])
                await asyncio.sleep(_PAUSE / 2)


def _of_file(
    file: Path,
    config: Path | None,
    filter: TraceFilter,
    which: str | None,
    job: str,
    limit: int,
    message: int | None,
    show: _Shown | _JsonShown,
    others: tuple[bool, bool, Path | None],
) -> None:
    """A file's messages; only to verify one a configuration is needed, for its trust store."""
    import msgspec

    from caroni.services.tracefile import open_export

    if any(others):
        raise UsageError(
            "--file shows what was written once: --follow, --live and --export do not go with it"
        )
    opened = open_export(file)
    if message is not None:
        from caroni.config import load_config
        from caroni.services.tracefile import auditor_for

        trust_dir = load_config(config).config.security.trust_dir
        show.message(opened.message(asyncio.run(auditor_for(trust_dir, opened)), message))
        return
    if which is not None or job:
        filter = msgspec.structs.replace(
            filter,
            workflow=_only(which, {e.workflow: e.workflow_name for e in opened.entries}, "workflow"),
            job=_only(job or None, {e.job: "" for e in opened.entries}, "job"),
        )
    show.entries(opened.trace(filter, limit=limit))


def _only(which: str | None, known: dict[str, str], what: str) -> bytes:
    """The one id that is meant by its first characters, or by its name."""
    from caroni.text import safe_line

    if which is None:
        return b""
    digits = which.replace("-", "").lower()
    found = [id for id, name in known.items() if id and (name == which or id.startswith(digits))]
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise UsageError(f"the file has {many} {what} {safe_line(which, 60)!r}")
    return bytes.fromhex(found[0])


# --- how it is shown ---------------------------------------------------------------------------------


class _Shown:
    """For people. A stream gets a line each; a page becomes a table."""

    def __init__(self, *, stream: bool) -> None:
        from caroni.services.roundtrips import RoundTrips

        self._stream = stream
        self._pairs = RoundTrips()

    def entries(self, found: Iterable[TraceEntry]) -> None:
        rows = [(entry, self._pairs.add(entry)) for entry in found]
        if self._stream:
            for entry, took in rows:
                output.line(_line(entry, took))
            output.flush()
            return
        output.table(
            ("number", "time", "from", "to", "message", "workflow", "step", "says", "took", "verdict"),
            [_cells(entry, took) for entry, took in rows],
            empty="no messages",
        )

    def message(self, shown: Decoded) -> None:
        from caroni.services.tracewords import lines

        for line in lines(shown):
            output.line(line)

    def note(self, text: str, value: dict[str, Any]) -> None:
        del value
        output.line(text)


def _cells(entry: TraceEntry, took: int | None) -> tuple[object, ...]:
    from caroni.services.messagewords import short_name
    from caroni.services.roundtrips import elapsed
    from caroni.services.tracewords import clock, step_words, title

    return (
        entry.rev,
        clock(entry.at),
        short_name(entry.sender),
        short_name(entry.receiver),
        title(entry),
        entry.workflow_name or entry.workflow[:12],
        step_words(entry),
        entry.summary,
        "" if took is None else elapsed(took),
        entry.verdict,
    )


def _line(entry: TraceEntry, took: int | None) -> str:
    from caroni.text import safe_line

    number, at, sender, receiver, name, _, step, says, waited, verdict = map(str, _cells(entry, took))
    who = f"{safe_line(sender, 14):>14} -> {safe_line(receiver, 14):<14}"
    text = f"{number:>8}  {at}  {who}  {safe_line(name, 28):<28}  {safe_line(step, 20):<20}"
    return f"{text}  {safe_line(says, 60)}  {waited}  {verdict}".rstrip()


class _JsonShown:
    """For programs: a list, of a stream a line each; ``took``: microseconds, where it answers something."""

    def __init__(self, *, stream: bool) -> None:
        from caroni.services.roundtrips import RoundTrips

        self._stream = stream
        self._pairs = RoundTrips()

    def entries(self, found: Iterable[TraceEntry]) -> None:
        values = [{**output.plain(entry), "took": self._pairs.add(entry)} for entry in found]
        if not self._stream:
            output.as_json(values)
            return
        for value in values:
            output.json_line(value)

    def message(self, shown: Decoded) -> None:
        output.as_json(shown)

    def note(self, text: str, value: dict[str, Any]) -> None:
        del text
        output.as_json(value)
