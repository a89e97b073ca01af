"""``caroni logs``: what a job writes to stdout and stderr, on its agent or from its manager."""

from __future__ import annotations

import asyncio
import codecs
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.errors import CaroniError, CommandRefused, TransientError
from caroni.text import safe_line, safe_text

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.model.store import Store
    from caroni.services.joblogs import LogPart, Stream

app = group()

#: bytes of the end that are shown if nothing else is said
_TAIL = 64 * 1024
#: seconds between looks at an agent's files, between questions of a manager (of a quiet job), and for an
#: agent's answer
_LOOK, _ASK, _ASK_QUIET, _ANSWER = 0.3, 2.0, 10.0, 10.0
#: seconds after which a silent agent is spoken of
_SILENT = 15.0


class StreamName(StrEnum):
    """Which of the two."""

    STDOUT = "stdout"
    STDERR = "stderr"


@app.command(
    epilog=example(
        "caroni logs 3f2a --config g1",
        "caroni logs 3f2a --stream stderr --follow --config m1",
        "caroni logs 3f2a --tail 0 --config g1 2>errors >output",
    )
)
def logs(
    job: Annotated[str, typer.Argument(help="The job's id, or its first characters.", metavar="JOB")],
    stream: Annotated[
        StreamName | None, typer.Option(help="Only this one, on stdout.", show_default=False)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended and all is shown.")
    ] = False,
    tail: Annotated[
        int, typer.Option(help="So many bytes of the end of each; 0: all there is.", min=0, metavar="BYTES")
    ] = _TAIL,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show what a job writes: its stdout on stdout, its stderr on stderr.

    With its agent's configuration its files are read, while it runs and until they are pruned. With its
    manager's, the agent is asked for the end (at most 64 KiB at a time), which it gives if its setting
    agent.log_tail allows it; of a job that has ended the manager has the last 4 KiB anyway.
    """
    from caroni.config import load_config

    loaded = load_config(config)
    streams: list[Stream] = [stream.value] if stream is not None else ["stdout", "stderr"]
    asyncio.run(_logs(loaded, job, streams, follow, tail, json))


async def _logs(
    loaded: Loaded, which: str, streams: list[Stream], follow: bool, tail: int, json: bool
) -> None:
    from caroni.services.control import to_daemon
    from caroni.services.jobs import find_job

    async with to_daemon(loaded, read_only=loaded.config.role == "agent") as store:
        peer, job_uuid = await find_job(store, which)
        shown = [
            _Shown(loaded, store, peer, job_uuid, one, json, to_stderr=one == "stderr" and len(streams) > 1)
            for one in streams
        ]
        for one in shown:
            await one.begin(tail)
        pause = _ASK
        while follow and not all(one.ended for one in shown):
            await asyncio.sleep(_LOOK if store.role == "agent" else pause)
            before = [one.next for one in shown]
            for one in shown:
                if not one.ended:
                    await one.go_on()
            # a quiet job is asked after less often
            pause = _ASK if before != [one.next for one in shown] else min(pause * 1.3, _ASK_QUIET)
        for one in shown:
            one.close(follow)


class _Shown:
    """One stream on its way to the screen."""

    def __init__(
        self,
        loaded: Loaded,
        store: Store,
        peer: str,
        job_uuid: bytes,
        stream: Stream,
        json: bool,
        *,
        to_stderr: bool,
    ) -> None:
        self._loaded, self._store = loaded, store
        self._job = (peer, job_uuid)
        self._stream: Stream = stream
        self._json = json
        self._file = sys.stderr if to_stderr else sys.stdout
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.next = 0
        self._open_line = False
        self._refused = ""
        self._silent_since = 0.0
        self._of_tail = False
        self._wrote = False
        self.ended = False

    # --- reading -----------------------------------------------------------------------------------

    async def _part(self, offset: int) -> LogPart:
        from caroni.services.joblogs import part

        return await part(self._loaded, self._store, *self._job, self._stream, offset)

    async def begin(self, tail: int) -> None:
        """Show the end that there is now."""
        if self._store.role == "manager":
            await self._ask(_ANSWER)
        first = await self._part(0)
        if first.gone:
            output.note(f"{self._stream}: the job's files are gone; this is the end that was kept")
        self._of_tail = first.total < 0
        self.next = await self._start(first, tail)
        await self.show()
        if self._store.role == "manager":
            self._say_how_it_stands(first)

    async def _start(self, first: LogPart, tail: int) -> int:
        """Where to begin, so that ``tail`` bytes are left; says what is left out."""
        begin = first.offset
        if tail:
            last = await self._part(-tail)
            begin = max(begin, last.offset)
        if begin and not self._of_tail:
            output.note(f"{self._stream}: {begin} bytes before this are not shown")
        return begin

    async def go_on(self) -> None:
        """Show what is new."""
        if self._store.role == "manager":
            await self._ask(_ANSWER)
        await self.show()

    async def show(self) -> None:
        """Show everything from where we are to the end that is there now."""
        while True:
            part = await self._part(self.next)
            if part.total < 0 and not self._of_tail:
                # the job has ended, and its agent gives no more: the end that is kept is counted anew
                if self._wrote:
                    self.ended = True
                    output.note(f"{self._stream}: the job has ended; see: caroni jobs {part.job[:12]}")
                    return
                self._of_tail = True
            if part.data or (self._json and not self._wrote):
                if part.offset > self.next:
                    self._gap(part.offset - self.next)
                self.next = part.offset + len(part.data)
                self._print(part)
            if part.end:
                self.ended = True
                return
            if not part.data or self.next >= part.total >= 0:
                return

    async def _ask(self, patience: float) -> None:
        """Have the manager ask; an agent that refuses or is silent is spoken of once."""
        from caroni.services.control import LeftForLater
        from caroni.services.joblogs import answered, ask

        try:
            asked_at = await ask(self._loaded, self._store, *self._job, self._stream)
            done = await answered(self._loaded, self._store, *self._job, self._stream, asked_at, patience)
        except (CommandRefused, LeftForLater, TransientError) as error:
            self._refusal(str(error))
            return
        if done:
            self._silent_since = 0.0
            part = await self._part(0)
            if part.refusal:
                self._refusal(f"{self._job[0]} says: {part.refusal}")
            else:
                self._refused = ""
        elif not self._silent_since:
            self._silent_since = time.monotonic()
        elif time.monotonic() - self._silent_since > _SILENT:
            self._refusal(f"{self._job[0]} has not answered")
            self._silent_since = time.monotonic()

    def _refusal(self, text: str) -> None:
        if text != self._refused:
            self._refused = text
            output.note(f"{self._stream}: {safe_line(text, 500)}")

    def _say_how_it_stands(self, part: LogPart) -> None:
        if part.waiting and not self._refused:
            output.note(
                f"{self._stream}: {safe_line(self._job[0], 200)} has not answered within {_ANSWER:.0f} s"
            )
        if part.data and (part.waiting or part.refusal):
            age = max(time.time() - part.at / 1e6, 0.0)
            output.note(f"{self._stream}: what is shown is what was known {age:.0f} s ago")

    # --- showing -----------------------------------------------------------------------------------

    def _gap(self, size: int) -> None:
        self._decoder.reset()
        if not self._json:
            self._write("\n" if self._open_line else "")
        self._open_line = False
        output.note(f"{self._stream}: {size} bytes were written faster than they could be asked for")

    def _print(self, part: LogPart) -> None:
        text = self._decoder.decode(part.data)
        self._wrote = True
        if self._json:
            output.json_line(
                {
                    "job": part.job,
                    "stream": part.stream,
                    "offset": part.offset,
                    "total": part.total,
                    "at": part.at,
                    "end": part.end,
                    "text": text,
                }
            )
            return
        self._write(safe_text(text.replace("\r\n", "\n"), 4 * len(text) + 16))
        self._open_line = not text.endswith("\n")

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except UnicodeEncodeError:
            encoding = self._file.encoding or "ascii"
            self._file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except BrokenPipeError:
            raise output.OutputClosed from None
        self._file.flush()

    def close(self, follow: bool) -> None:
        """End the last line.

        Raises:
            CaroniError: there was nothing to show, because the agent did not give it.
        """
        if self._open_line and not self._json:
            self._write("\n")
        if not self._wrote and (self._refused or self._silent_since) and not follow:
            raise CaroniError(f"nothing is known of the {self._stream} of job {self._job[1].hex()[:12]}")
