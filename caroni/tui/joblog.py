"""A job's stream as the console knows it: read on from where it was, and asked for where an agent has it."""

from __future__ import annotations

import time

from caroni.errors import CaroniError, CommandRefused
from caroni.services.control import LeftForLater
from caroni.services.jobdetail import JobShown
from caroni.services.joblogs import LogPart, Stream, ask, part
from caroni.services.words import ago, size
from caroni.tui.logtext import Painted, StreamText
from caroni.tui.site import Site

#: bytes of the end that are shown at first, and that one look may take
AT_FIRST, AT_ONCE = 256 * 1024, 1024 * 1024
#: seconds between two questions to the agent: while it writes, on a slow line, where it is quiet or refuses
_ASK, _ASK_SLOW, _ASK_QUIET, _ASK_REFUSED = 2.0, 10.0, 15.0, 30.0
#: seconds after which its silence is spoken of
_SILENT = 6.0


class JobLog:
    """One stream of one job. What was read waits in ``text`` until it is painted."""

    def __init__(self, site: Site, peer: str, job_uuid: bytes, stream: Stream) -> None:
        self.stream: Stream = stream
        self.text = StreamText()
        self.painted = Painted()
        #: how the last look went
        self.last: LogPart | None = None
        #: what stood in the way of asking the agent
        self.trouble = ""
        self.site, self.peer, self.job_uuid = site, peer, job_uuid
        self._next = -1
        self._asked = 0.0
        self._asked_after_end = False
        self._quiet = 0
        self._taken_then = 0

    @property
    def asked(self) -> bool:
        """Whether the agent was asked at all."""
        return bool(self._asked)

    # --- reading ---------------------------------------------------------------------------------

    async def read(self) -> None:
        """Take what is new; of very much only the end."""
        taken = 0
        while taken < AT_ONCE:
            found = await self._part(self._next if self._next >= 0 else -AT_FIRST)
            if self.last is not None and (found.total < 0) is not (self.last.total < 0) and self.text.taken:
                # its end alone is known now, counted anew
                self.text, self.painted, self.last, self._next = StreamText(), Painted(), None, -1
                continue
            if found.total - found.offset > 2 * AT_ONCE:
                found = await self._part(-AT_FIRST)
            self._gap(found)
            self.last, self._next = found, found.offset + len(found.data)
            self.text.feed(found.data)
            taken += len(found.data)
            if not found.data or (found.total >= 0 and self._next >= found.total):
                return

    async def _part(self, offset: int) -> LogPart:
        return await self.site.read(
            lambda store: part(self.site.loaded, store, self.peer, self.job_uuid, self.stream, offset)
        )

    def _gap(self, found: LogPart) -> None:
        if found.total < 0:
            return
        if self._next < 0 and found.offset:
            self.text.note(f"... {size(found.offset)} before this ...")
        elif 0 <= self._next < found.offset:
            self.text.note(f"... {size(found.offset - self._next)} are not shown ...")

    # --- asking ----------------------------------------------------------------------------------

    def is_due(self, job: JobShown, *, slow: bool) -> bool:
        """Whether to ask again: of a running job now and then, of an ended one once."""
        if self.site.role != "manager" or self.site.readonly or job.state == "orphan":
            return False
        if self._asked and (self._asked_after_end or time.monotonic() - self._asked < self._pause(slow)):
            return False
        self._asked, self._asked_after_end = time.monotonic(), job.ended
        self._quiet = 0 if self.text.taken != self._taken_then else self._quiet + 1
        self._taken_then = self.text.taken
        return True

    def _pause(self, slow: bool) -> float:
        if self.trouble or (self.last is not None and self.last.refusal):
            return _ASK_REFUSED
        least = _ASK_SLOW if slow else _ASK
        return min(least * 1.3 ** min(self._quiet, 20), max(_ASK_QUIET, least))

    async def ask(self) -> None:
        """Have the manager ask; what it says against it becomes ``trouble``."""
        try:
            await self.site.write(
                lambda store: ask(self.site.loaded, store, self.peer, self.job_uuid, self.stream)
            )
        except (CommandRefused, LeftForLater) as error:
            self.trouble = str(error)
        except CaroniError as error:
            self.trouble = f"not asked: {error}"
        else:
            self.trouble = ""

    # --- words -----------------------------------------------------------------------------------

    def nothing(self, job: JobShown) -> str:
        """Why there is no line."""
        last = self.last
        if last is None:
            return "Looking ..."
        if last.refusal and not job.ended:
            return "Its agent gives no logs of jobs that run; the end comes with the job's end."
        if job.ended:
            return "The job wrote nothing."
        if not job.started_at and job.role == "agent":
            return "The job has not started."
        return "Its agent is asked ..." if last.waiting else "Nothing was written yet."

    def source(self, job: JobShown, now: int) -> list[str]:
        """Where the text is from, how old it is, and what the agent says to it."""
        last, parts = self.last, list[str]()
        if last is None:
            return []
        if last.gone:
            parts.append("its files are gone, this is the end that was kept")
        elif last.total < 0:
            parts.append("the end that came with the job's end")
        elif last.total:
            parts.append(size(last.total))
        if job.role == "agent":
            return parts
        if last.at and not job.ended:
            parts.append(f"as of {ago(last.at, now)}")
        if self.trouble:
            parts.append(self.trouble)
        elif self.site.readonly and not job.ended:
            parts.append("the agent is not asked (--readonly)")
        elif last.refusal and not last.waiting:
            parts.append(f"its agent says: {last.refusal}")
        elif last.waiting and now - last.asked_at > _SILENT * 1_000_000:
            parts.append(f"the agent was asked {ago(last.asked_at, now)} and has not answered")
        return parts
