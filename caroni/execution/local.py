"""The ``local`` executor: jobs as processes of this host, through the spool and the launcher.

Three ways lead to the end of a job, and all end in :meth:`LocalExecutor._settle`: the launcher reports
that a supervisor has ended; the process descriptor of a supervisor that outlived its launcher becomes
readable; a look at the spool finds the job ended or dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from caroni.core.messages import FailureClass
from caroni.errors import ConfigError, of_system
from caroni.execution import found, launcher, outputs, verdict
from caroni.execution.claims import Claim, Found, is_alive, kill_leftovers
from caroni.execution.executor import (
    Callbacks,
    JobOutcome,
    JobRefused,
    JobSpec,
    Signal,
    SpooledJob,
    Stream,
    StreamPart,
)
from caroni.execution.link import LauncherLink
from caroni.execution.spool import Spool, SpoolSettings

#: seconds between looks at jobs that may end unseen
PATROL = 1.0
#: a launcher that lived for so many seconds is replaced at once
STABLE = 10.0


class _Running:
    """A job between ``launch`` and its end."""

    __slots__ = ("kill_wished", "name", "pidfd", "sent", "slow", "spec")

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.name = spec.job_uuid.hex()
        #: the launcher has it: the launcher's report or death tells its end
        self.sent = False
        self.kill_wished = False
        self.pidfd = -1
        #: reading its outputs may take long (checksums of files)
        self.slow = any(outputs.needs_files(t) for t in spec.definition.outputs.values())


class LocalExecutor:
    """See :class:`caroni.execution.executor.Executor`."""

    def __init__(self, spool: Path, settings: SpoolSettings | None = None) -> None:
        self.spool = Spool(spool, settings or SpoolSettings())
        self._jobs: dict[bytes, _Running] = {}
        self._by_name: dict[str, _Running] = {}
        self._ended: list[tuple[_Running, int | None]] = []
        self._settling = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._link: LauncherLink | None = None
        self._ready = asyncio.Event()
        self._launched_at = self._launch_pause = 0.0
        #: jobs whose supervisor is not our launcher's, by name
        self._attached: dict[str, tuple[_Running, Claim]] = {}
        self._patrolling = False
        self._closed = False
        self._closing = asyncio.Event()

    @property
    def launcher_pid(self) -> int:
        """The launcher's process id, 0 while there is none."""
        return self._link.pid if self._link else 0

    async def start(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self.spool.open)
            await self._open_launcher()
        except OSError as error:
            raise of_system(error, f"spool {self.spool.root} cannot be used") from None
        except KeyError:
            raise ConfigError(f"user {self.spool.settings.user!r} of the executor does not exist") from None
        if self.spool.settings.user and os.geteuid() != 0:
            await self.close()
            raise ConfigError("jobs run as another user only under an agent that runs as root")

    async def launch(self, specs: Sequence[JobSpec]) -> None:
        await self._admit(self._take(specs))

    async def recover(self, specs: Sequence[JobSpec]) -> None:
        taken = self._take(specs)
        if taken:
            await self._settle([(job, None) for job in taken])

    def _take(self, specs: Iterable[JobSpec]) -> list[_Running]:
        taken = []
        for spec in specs:
            if spec.job_uuid not in self._jobs:
                job = self._jobs[spec.job_uuid] = _Running(spec)
                self._by_name[job.name] = job
                taken.append(job)
        return taken

    # --- starting --------------------------------------------------------------------------------

    async def _admit(self, jobs: Sequence[_Running]) -> None:
        """Write the jobs' files and hand the jobs to the launcher."""
        if not jobs:
            return
        refusals = await asyncio.to_thread(self._prepare, jobs)
        await self._ready.wait()
        names = []
        for job in jobs:
            refusal = refusals.get(job.name)
            if refusal is not None:
                self._finish(job, refusal)
            elif job.kill_wished:
                self._finish(job, JobOutcome(state="killed", info="killed before it was started"))
            else:
                job.sent = True
                names.append(job.name)
        if names and self._link is not None:
            self._link.send(names)

    def _prepare(self, jobs: Sequence[_Running]) -> dict[str, JobOutcome]:
        """In a thread: the outcomes of those that cannot be started."""
        refusals: dict[str, JobOutcome] = {}
        for job in jobs:
            try:
                self.spool.prepare(job.spec)
            except JobRefused as refusal:
                refusals[job.name] = verdict.failed(refusal.failure_class, refusal.text)
            except Exception as error:  # one job's surprise is that job's failure
                text = f"could not be prepared: {type(error).__name__}: {error}"
                refusals[job.name] = verdict.failed(FailureClass.AGENT, text)
        try:
            self.spool.flush()
        except OSError as error:
            text = f"the spool cannot be flushed to disk: {error.strerror}"
            return {job.name: verdict.failed(FailureClass.AGENT, text) for job in jobs} | refusals
        return refusals

    async def _open_launcher(self) -> None:
        link = LauncherLink(self.spool.root, self._on_lines, self._on_lost)
        await link.open()
        if self._closed:
            await link.close()
            return
        self._link = link
        self._launched_at = time.monotonic()
        self._ready.set()

    def _on_lines(self, lines: list[str]) -> None:
        now = time.time_ns() // 1000
        for line in lines:
            kind, _, rest = line.partition(" ")
            name, _, number = rest.partition(" ")
            job = self._by_name.get(name)
            if job is None or not job.sent:
                continue
            if kind == "S":
                self._loop.call_soon(self._tell_started, job, now)
            else:
                self._ended.append((job, int(number)))
        self._kick()

    def _on_lost(self, link: LauncherLink) -> None:
        self._ready.clear()
        self._link = None
        self._spawn(self._revive(link))

    async def _revive(self, link: LauncherLink) -> None:
        """Start a new launcher and look what became of the jobs the old one had.

        A launcher that does not live long, or cannot be started (no processes or memory just now), is
        tried again, ever more slowly.
        """
        if time.monotonic() - self._launched_at > STABLE:
            self._launch_pause = 0.0
        await link.close()
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._launch_pause):
                    await self._closing.wait()
            self._launch_pause = min(max(2 * self._launch_pause, 0.05), 5.0)
            with contextlib.suppress(OSError):
                await self._open_launcher()
                break
        orphans = [job for job in self._jobs.values() if job.sent]
        for job in orphans:
            job.sent = False
        self._ended.extend((job, None) for job in orphans)
        self._kick()

    # --- ending ----------------------------------------------------------------------------------

    def _kick(self) -> None:
        """Have what has ended settled: all of it in one thread call, slow ones on their own."""
        slow = [entry for entry in self._ended if entry[0].slow]
        if slow:
            self._ended = [entry for entry in self._ended if not entry[0].slow]
            for entry in slow:
                self._spawn(self._settle([entry]))
        if self._ended and not self._settling:
            self._settling = True
            self._spawn(self._settle_all())

    async def _settle_all(self) -> None:
        try:
            while self._ended:
                batch, self._ended = self._ended, []
                await self._settle(batch)
        finally:
            self._settling = False

    async def _settle(self, entries: Sequence[tuple[_Running, int | None]]) -> None:
        """Find out what became of jobs and go on accordingly."""
        waiting = []
        for job, result in await asyncio.to_thread(self._look, entries):
            if isinstance(result, JobOutcome):
                self._finish(job, result)
            elif isinstance(result, Claim):
                self._attach(job, result)
            else:
                waiting.append(job)
        await self._admit(waiting)

    def _look(
        self, entries: Sequence[tuple[_Running, int | None]]
    ) -> list[tuple[_Running, JobOutcome | Claim | None]]:
        """In a thread: each job's outcome, the claim of one that runs, None for one never started."""
        found: list[tuple[_Running, JobOutcome | Claim | None]] = []
        for job, code in entries:
            try:
                found.append((job, self._look_at(job, code)))
            except Exception as error:  # one job's surprise is that job's failure
                text = f"the spool cannot be read: {type(error).__name__}: {error}"
                found.append((job, verdict.failed(FailureClass.AGENT, text)))
        return found

    def _look_at(self, job: _Running, code: int | None) -> JobOutcome | Claim | None:
        uuid = job.spec.job_uuid
        if code == 0 and (record := self.spool.exit_of(uuid)) is not None:
            return verdict.outcome_of(self.spool, job.spec, record)
        if code == launcher.CLAIMED:
            code = None
        state, claim = self.spool.inspect(uuid)
        match state:
            case Found.ENDED:
                record = self.spool.exit_of(uuid)
                if record is not None:
                    return verdict.outcome_of(self.spool, job.spec, record)
            case Found.RUNNING:
                return claim
            case Found.REBOOTED:
                return verdict.failed(FailureClass.AGENT, "the host was rebooted while the job ran")
            case Found.NOTHING if code is None:
                return None
        kill_leftovers(uuid, claim)
        return verdict.supervisor_died(code)

    def _attach(self, job: _Running, claim: Claim) -> None:
        """Follow a supervisor that is not a child of our launcher."""
        job.sent = False
        self._detach(job)
        self._loop.call_soon(self._tell_started, job, claim.at)
        self._attached[job.name] = (job, claim)
        if not self._patrolling:
            self._patrolling = True
            self._spawn(self._patrol())
        try:
            job.pidfd = os.pidfd_open(claim.pid)
        except (AttributeError, OSError):
            return  # the patrol will see
        if is_alive(claim):  # asked after the descriptor was taken: it is the right process
            self._loop.add_reader(job.pidfd, self._supervisor_gone, job)
        else:
            self._supervisor_gone(job)

    async def _patrol(self) -> None:
        """Look at attached jobs from time to time.

        For kernels without process descriptors, and for a supervisor whose launcher lives (a second
        agent on this spool): it goes on to another job after this one.
        """
        while self._attached and not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATROL):
                    await self._closing.wait()
            for job in await asyncio.to_thread(self._ended_unseen, list(self._attached.values())):
                if job.name in self._attached:
                    self._supervisor_gone(job)
        self._patrolling = False

    def _ended_unseen(self, attached: list[tuple[_Running, Claim]]) -> list[_Running]:
        return [
            job
            for job, claim in attached
            if self.spool.exit_of(job.spec.job_uuid) is not None or not is_alive(claim)
        ]

    def _supervisor_gone(self, job: _Running) -> None:
        self._detach(job)
        self._ended.append((job, None))
        self._kick()

    def _detach(self, job: _Running) -> None:
        self._attached.pop(job.name, None)
        if job.pidfd >= 0:
            self._loop.remove_reader(job.pidfd)
            os.close(job.pidfd)
            job.pidfd = -1

    def _tell_started(self, job: _Running, at: int) -> None:
        if not self._closed and job.name in self._by_name:
            self._callbacks.on_started(job.spec.manager, job.spec.job_uuid, at)

    def _finish(self, job: _Running, outcome: JobOutcome) -> None:
        if self._by_name.get(job.name) is job:
            self._loop.call_soon(self._tell_exit, job, outcome)

    def _tell_exit(self, job: _Running, outcome: JobOutcome) -> None:
        if not self._closed and self._by_name.pop(job.name, None) is job:
            del self._jobs[job.spec.job_uuid]
            self._callbacks.on_exit(job.spec.manager, job.spec.job_uuid, outcome)

    # --- requests --------------------------------------------------------------------------------

    async def signal(self, job_uuid: bytes, signal: Signal, grace: int | None = None) -> None:
        job = self._jobs.get(job_uuid)
        if job is None:
            return
        if signal == "kill":
            job.kill_wished = True
        await asyncio.to_thread(
            self._wish, job_uuid, signal, self.spool.settings.grace if grace is None else grace
        )

    def _wish(self, job_uuid: bytes, signal: Signal, grace: int) -> None:
        """In a thread: record the wish, then wake the supervisor; one without a claim yet will look."""
        if signal == "kill":
            self.spool.wish_end(job_uuid, grace)
        else:
            self.spool.wish_pause(job_uuid, signal == "pause")
        claim = self.spool.claim_of(job_uuid)
        if claim is None or claim.boot != self.spool.boot:
            return
        try:
            fd = os.pidfd_open(claim.pid)
        except (AttributeError, OSError):
            if is_alive(claim):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(claim.pid, signals.SIGUSR1)
            return
        try:
            if is_alive(claim):
                with contextlib.suppress(ProcessLookupError):
                    signals.pidfd_send_signal(fd, signals.SIGUSR1)
        finally:
            os.close(fd)

    async def forget(self, job_uuids: Sequence[bytes]) -> None:
        await asyncio.to_thread(self._forget, [uuid for uuid in job_uuids if uuid not in self._jobs])

    def _forget(self, job_uuids: Sequence[bytes]) -> None:
        for uuid in job_uuids:
            with contextlib.suppress(OSError):  # what cannot be deleted now is still in ``stored``
                self.spool.forget(uuid)

    async def stored(self) -> list[bytes]:
        """The jobs that have a directory in the spool, those the daemon does not know among them."""
        return await asyncio.to_thread(self.spool.stored)

    async def identify(self, job_uuids: Sequence[bytes], agent: str) -> list[SpooledJob]:
        """What the spool tells of these jobs; those that are not certainly this agent's are left out."""

        def look() -> list[SpooledJob]:
            jobs = (found.identify(self.spool, uuid, agent) for uuid in job_uuids)
            return [job for job in jobs if job is not None]

        return await asyncio.to_thread(look)

    async def stale(self, job_uuids: Sequence[bytes], older_than: int) -> list[bytes]:
        """Those of which nothing runs, and whose files have not changed since (wall microseconds)."""

        def look() -> list[bytes]:
            return [
                uuid
                for uuid in job_uuids
                if uuid not in self._jobs and found.is_stale(self.spool, uuid, older_than)
            ]

        return await asyncio.to_thread(look)

    async def tail(self, job_uuid: bytes, stream: Stream, offset: int, n: int) -> StreamPart:
        ended = job_uuid not in self._jobs
        start, data, total = await asyncio.to_thread(self.spool.part, job_uuid, stream, offset, n)
        return StreamPart(offset=start, data=data, total=total, end=ended and start + len(data) >= total)

    async def close(self) -> None:
        self._closed = True
        self._ready.set()
        self._closing.set()
        for job in self._jobs.values():
            self._detach(job)
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for job in self._jobs.values():
            self._detach(job)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def local_executor(spool: Path, options: Mapping[str, object]) -> LocalExecutor:
    """Factory of the ``local`` executor; ``options`` are the fields of :class:`SpoolSettings`.

    Raises:
        ConfigError: an option is unknown or has a wrong type.
    """
    unknown = set(options) - set(SpoolSettings.__struct_fields__)
    if unknown:
        known = ", ".join(SpoolSettings.__struct_fields__)
        raise ConfigError(f"executor 'local' has no option {sorted(unknown)[0]!r}; it has {known}")
    try:
        return LocalExecutor(spool, msgspec.convert(dict(options), SpoolSettings))
    except msgspec.ValidationError as error:
        raise ConfigError(f"options of executor 'local': {error}") from None
