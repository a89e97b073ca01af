"""The launcher: one small process that starts jobs, and the supervisors it forks for them.

Run as ``python -I -S launcher.py SPOOL``; standard library only, because every supervisor is a fork of
this process and pays for what it has loaded. It speaks lines of ASCII with the agent:

* in: ``<job>`` (32 hex digits) starts the job whose files lie in ``SPOOL/<job>/``;
* out: ``S <job> <pid>`` when a supervisor has it, ``X <job> <code>`` when the supervisor is done with it
  (0: ``exit.json`` is there; :data:`CLAIMED`: somebody else has this job; ``-n``: died of signal ``n``;
  any other positive number: an ``errno``).

A supervisor runs one job at a time and then waits for the next one, because a fork costs more than a
short job does. End of input ends the launcher, never a job: supervisors are sessions of their own and
say nothing while a job runs, so launcher and agent may die and come back. A supervisor whose launcher is
gone ends after its job. Thus: the claiming supervisor is alive and ``exit.json`` is missing means that
the job runs.

A supervisor writes its *claim* (pid, start time, boot id) durably before anything of the job runs, and
``exit.json`` durably when nothing of the job is left. Files in ``SPOOL/<job>/``: ``spec.json`` (read),
``claim``, ``alive``, ``stdout``, ``stderr``, ``exit.json`` (written), ``work/`` (the job's own
directory), and two wishes (read): ``kill`` (end the job; its text is the grace in microseconds) and
``pause`` (suspend it while this is there). ``SIGUSR1`` and ``SIGTERM`` have a supervisor look at the
wishes of the job it has; a signal that comes too late for its job does nothing to the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

#: a supervisor's exit code: the job is claimed already; / its own code failed (see ``launcher.log``)
CLAIMED = 200
BROKEN = 199

PR_SET_CHILD_SUBREAPER = 36
#: seconds in which what a job leaves behind must have died of SIGKILL
REAP_LIMIT = 10.0
#: seconds of grace for a job that has written too much
OVERFLOW_GRACE = 2.0
EXIT_RESERVE = 4096
CHUNK = 1 << 16
#: supervisors that always may wait for work, and seconds that the others may
MIN_IDLE = 2
IDLE_LIMIT = 10.0
HANDLED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP}
#: what Python or we have changed, and a job shall find as usual
DEFAULTED = (*HANDLED, signal.SIGPIPE, signal.SIGXFSZ)

libc = ctypes.CDLL(None, use_errno=True)


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def process_stat(pid: int) -> tuple[str, int, int, int]:
    """State letter, parent, session and start time (ticks since boot) of a process.

    Raises:
        OSError: there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        # the name may hold anything, spaces and brackets too: what follows the last bracket is safe
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19])


def now() -> float:
    """Seconds that also count while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall() -> int:
    """Wall time in microseconds since the epoch."""
    return time.time_ns() // 1000


def become_subreaper() -> None:
    """Have orphaned descendants become our children, so that they can be found and reaped."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def ignore(number: int, frame: object) -> None:
    """Handle a signal by nothing: what counts is its byte in the wakeup pipe."""


def read_some(fd: int) -> bytes:
    """What is there now; empty if nothing is."""
    try:
        return os.read(fd, CHUNK)
    except BlockingIOError:
        return b""


class Supervisor:
    """Runs one job from its claim to its ``exit.json``.

    Args:
        directory: the job's directory.
        me: the supervisor's pid, start time and boot id.
        wakeup: descriptor that becomes readable with the numbers of signals that arrive.
    """

    def __init__(self, directory: str, me: tuple[int, int, str], wakeup: int) -> None:
        self.directory = directory
        self.pid, self.start, self.boot = me
        self.wakeup = wakeup
        self.job_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with open(f"{self.directory}/spec.json", "rb") as file:
            self.spec: dict[str, Any] = json.loads(file.read())
        self.durable: bool = self.spec["fsync"]
        self.main = 0
        self.ended = False
        self.status = 0
        self.cpu = 0.0
        self.max_rss = 0
        #: why the job was stopped, "" while it was not
        self.reason = ""
        self.kill_at = 0.0
        self.paused_at = 0.0
        self.deadline = 0.0
        self.detail = ""
        #: what did not even die of SIGKILL
        self.survivors: list[int] = []
        self.caps = {"stdout": self.spec["stdout_cap"], "stderr": self.spec["stderr_cap"]}
        self.sizes = {"stdout": 0, "stderr": 0}
        self.files: dict[str, int] = {}
        self.pipes: dict[int, str] = {}
        self.poller = select.poll()
        self.poller.register(wakeup, select.POLLIN)

    def close(self) -> None:
        """Give back every descriptor of this job."""
        for fd in (self.job_fd, *self.files.values(), *self.pipes):
            os.close(fd)

    # --- files -----------------------------------------------------------------------------------

    def open_file(self, name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.job_fd)

    def claim(self) -> bool:
        """Take the job, durably; False if it is taken already.

        The claim appears complete or not at all: a reader can never meet one half written.
        """
        text = json.dumps({"pid": self.pid, "start": self.start, "boot": self.boot, "at": wall()})
        draft = f"claim.{self.pid}"
        fd = self.open_file(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        try:
            os.write(fd, text.encode())
            if self.durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        try:
            os.link(draft, "claim", src_dir_fd=self.job_fd, dst_dir_fd=self.job_fd)
        except FileExistsError:
            return False
        finally:
            os.unlink(draft, dir_fd=self.job_fd)
        if self.durable:
            os.fsync(self.job_fd)
        return True

    def reserve_exit(self) -> int:
        """The file that becomes ``exit.json``, with room already taken: a full disk cannot lose it."""
        fd = self.open_file("exit.json.tmp", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.posix_fallocate(fd, 0, EXIT_RESERVE)
        return fd

    def write_exit(self, fd: int, record: dict[str, Any]) -> None:
        """Make ``exit.json`` appear complete, after what it vouches for is on disk."""
        if self.durable:
            with contextlib.suppress(OSError):
                outputs = os.open(
                    f"{self.directory}/work/outputs.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                )
                os.fsync(outputs)
                os.close(outputs)
            if self.spec["sync"]:
                libc.syncfs(self.job_fd)
        text = json.dumps(record).encode()
        os.write(fd, text)
        os.ftruncate(fd, len(text))
        if self.durable:
            os.fsync(fd)
        os.rename("exit.json.tmp", "exit.json", src_dir_fd=self.job_fd, dst_dir_fd=self.job_fd)
        if self.durable:
            os.fsync(self.job_fd)

    def keep(self, stream: str, data: bytes) -> None:
        """Store a part of a stream up to its cap; what is beyond is counted and dropped."""
        size, cap = self.sizes[stream], self.caps[stream]
        self.sizes[stream] = size + len(data)
        room = cap - size
        if room > 0:
            try:
                if stream not in self.files:
                    self.files[stream] = self.open_file(stream, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
                part = memoryview(data)[:room]
                while part:
                    part = part[os.write(self.files[stream], part) :]
            except OSError as error:
                self.caps[stream] = 0
                self.stop("disk", OVERFLOW_GRACE, f"{stream}: {os.strerror(error.errno or 0)}")
        if self.sizes[stream] > cap and self.caps[stream]:
            self.stop("overflow", OVERFLOW_GRACE, stream)

    # --- processes -------------------------------------------------------------------------------

    def spawn(self) -> None:
        """Start the job in a process group of its own, with nothing of our environment."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0)]
        writers = []
        for number, stream in ((1, "stdout"), (2, "stderr")):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            self.pipes[reader] = stream
            self.poller.register(reader, select.POLLIN)
            actions.append((os.POSIX_SPAWN_DUP2, writer, number))
            writers.append(writer)
        os.chdir(f"{self.directory}/work")
        self.main = os.posix_spawn(
            self.spec["program"],
            self.spec["argv"],
            self.spec["env"],
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=DEFAULTED,
        )
        os.chdir("/")
        for fd in (null, *writers):
            os.close(fd)

    def signal_job(self, number: int) -> None:
        """Signal the job's process group. Its leader is our unreaped child: the id is never reused."""
        if self.main and not self.ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.main, number)

    def children(self) -> list[int]:
        """Our direct children, orphans that came to us among them."""
        me = self.pid
        try:
            with open(f"/proc/{me}/task/{me}/children") as file:
                return [int(pid) for pid in file.read().split()]
        except FileNotFoundError:  # kernels without that list
            found = []
            for entry in os.listdir("/proc"):
                if entry.isdigit():
                    with contextlib.suppress(OSError, IndexError):
                        if process_stat(int(entry))[1] == me:
                            found.append(int(entry))
            return found

    def stop(self, reason: str, grace: float, detail: str = "") -> None:
        """Ask the job to end, and arm the moment when it is not asked any more."""
        if not self.reason:
            self.reason, self.detail = reason, detail
        at = now() + grace
        self.kill_at = min(self.kill_at, at) if self.kill_at else at
        self.signal_job(signal.SIGTERM if grace > 0 else signal.SIGKILL)
        self.signal_job(signal.SIGCONT)

    def kill_wish(self) -> float | None:
        """The grace in seconds of a recorded kill wish, None without one."""
        try:
            with open(f"{self.directory}/kill") as file:
                return int(file.read() or self.spec["grace"]) / 1e6
        except FileNotFoundError:
            return None
        except ValueError:
            return float(self.spec["grace"]) / 1e6

    def look_at_wishes(self) -> None:
        """Do what somebody has asked for this job, if anything."""
        grace = self.kill_wish()
        if grace is not None:
            self.stop("kill", grace)
            return
        wished = os.path.exists(f"{self.directory}/pause")
        if wished and not self.paused_at and not self.reason:
            self.paused_at = now()
            self.signal_job(signal.SIGSTOP)
        elif self.paused_at and not wished:
            # a suspended job does not use up its time
            if self.deadline:
                self.deadline += now() - self.paused_at
            self.paused_at = 0.0
            self.signal_job(signal.SIGCONT)

    def account(self, usage: Any) -> None:
        self.cpu += usage.ru_utime + usage.ru_stime
        self.max_rss = max(self.max_rss, usage.ru_maxrss * 1024)

    def reap(self) -> None:
        """Reap orphans; note the end of the job itself but leave its id taken until its group is dead."""
        while True:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is None:
                return
            if info.si_pid == self.main:
                self.signal_job(signal.SIGKILL)
                self.ended = True
                _, self.status, usage = os.wait4(self.main, 0)
                self.account(usage)
                return
            self.account(os.wait4(info.si_pid, 0)[2])

    def sweep(self) -> bool:
        """Kill and reap everything the job has left running; False if something does not die."""
        limit = now() + REAP_LIMIT
        while True:
            try:
                pid, _, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid:
                self.account(usage)
                continue
            if now() > limit:
                return False
            for child in self.children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            if self.poller.poll(20):
                self.drain()
                read_some(self.wakeup)

    def drain(self) -> None:
        """Take what the pipes hold."""
        for fd in tuple(self.pipes):
            while True:
                try:
                    data = os.read(fd, CHUNK)
                except BlockingIOError:
                    break
                if not data:
                    self.poller.unregister(fd)
                    os.close(fd)
                    del self.pipes[fd]
                    break
                self.keep(self.pipes[fd], data)
                if self.sizes[self.pipes[fd]] > self.caps[self.pipes[fd]]:
                    break  # somebody who never stops writing must not keep us from looking at the clock

    # --- the whole life --------------------------------------------------------------------------

    def watch(self) -> None:
        """Wait for the job's end; keep its time, its output and its pulse."""
        pulse_every = self.spec["heartbeat"] / 1e6
        pulse = now() + pulse_every
        self.deadline = now() + self.spec["timeout"] / 1e6 if self.spec["timeout"] else 0.0
        self.look_at_wishes()
        while not self.ended:
            moment = now()
            due = [pulse]
            if self.kill_at:
                due.append(self.kill_at)
            elif self.deadline and not self.paused_at:
                due.append(self.deadline)
            wait = max(0.0, min(due) - moment)
            ready = self.poller.poll(wait * 1000 + 1)
            for fd, _ in ready:
                if fd == self.wakeup:
                    numbers = read_some(fd)
                    if signal.SIGUSR1 in numbers or signal.SIGTERM in numbers:
                        self.look_at_wishes()
                    self.reap()
            if any(fd != self.wakeup for fd, _ in ready):
                self.drain()
            moment = now()
            if self.kill_at and moment >= self.kill_at:
                self.signal_job(signal.SIGKILL)
                self.kill_at = moment + 1.0
            elif self.deadline and not self.paused_at and not self.reason and moment >= self.deadline:
                self.stop("timeout", self.spec["grace"] / 1e6)
            if moment >= pulse:
                pulse = moment + pulse_every
                self.look_at_wishes()  # whoever made one may have died before the signal
                with contextlib.suppress(OSError):
                    os.close(self.open_file("alive", os.O_CREAT | os.O_WRONLY))
                    os.utime(f"{self.directory}/alive")

    def run(self) -> int:
        """Everything; gives 0, or :data:`CLAIMED`.

        Raises:
            OSError: the spool cannot be written.
        """
        if not self.claim():
            return CLAIMED
        exit_fd = self.reserve_exit()
        started, began = wall(), now()
        record: dict[str, Any] = {"v": 1, "boot": self.boot, "started_at": started}
        if self.kill_wish() is not None:
            self.reason = "kill"
            self.ended = True
        else:
            try:
                self.spawn()
            except OSError as error:
                self.reason = "spawn"
                self.detail = f"{self.spec['program']}: {os.strerror(error.errno or 0)}"
                record["errno"] = error.errno
            else:
                self.watch()
                if not self.sweep():
                    record["survivors"] = self.survivors = self.children()
                self.drain()
        if self.main:
            code = os.waitstatus_to_exitcode(self.status)
            record["exit_code" if code >= 0 else "signal"] = abs(code)
        record |= {
            "reason": self.reason,
            "detail": self.detail,
            "ended_at": wall(),
            "wall": int((now() - began) * 1e6),
            "cpu": int(self.cpu * 1e6),
            "max_rss": self.max_rss,
            "stdout": self.sizes["stdout"],
            "stderr": self.sizes["stderr"],
        }
        try:
            self.write_exit(exit_fd, record)
        finally:
            os.close(exit_fd)
        return 0


def supervise(spool: str, boot: str, orders: socket.socket) -> NoReturn:
    """Be a supervisor: run the jobs that are named on ``orders``, one after the other; never returns.

    After anything unusual it ends instead of taking another job.
    """
    code = BROKEN
    try:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        os.setsid()
        become_subreaper()
        gc.enable()
        wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, ignore)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        me = (os.getpid(), process_stat(os.getpid())[3], boot)
        while job := orders.recv(64):
            supervisor = Supervisor(f"{spool}/{job.decode()}", me, wakeup)
            code = supervisor.run()
            supervisor.close()
            orders.send(b"%d" % code)
            if supervisor.survivors:
                break
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):  # the launcher is gone: so are we
            traceback.print_exc()
        code = error.errno if error.errno and error.errno < BROKEN else BROKEN
    except BaseException:
        traceback.print_exc()
        code = BROKEN
    finally:
        os._exit(code)


class Worker:
    """A supervisor as the launcher knows it."""

    def __init__(self, pid: int, orders: socket.socket) -> None:
        self.pid = pid
        self.orders = orders
        self.job = ""
        self.idle_since = 0.0

    def answer(self) -> str:
        """Its verdict on the job it had, "" if there is none yet."""
        try:
            return self.orders.recv(64, socket.MSG_DONTWAIT).decode()
        except OSError:
            return ""


class Launcher:
    """The loop of the launcher process."""

    def __init__(self, spool: str) -> None:
        self.spool = spool
        self.boot = boot_id()
        self.workers: dict[int, Worker] = {}
        self.by_fd: dict[int, Worker] = {}
        self.idle: list[Worker] = []
        self.pending = b""
        self.report: list[str] = []
        self.poller = select.poll()
        self.wakeup, self.wakeup_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fork(self) -> Worker:
        """A new supervisor, with its signals held back until it can take them."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                os.close(self.wakeup)
                os.close(self.wakeup_writer)
                # a copy of another supervisor's line would hide from it that the launcher is gone
                for other in self.workers.values():
                    other.orders.close()
                ours.close()
                supervise(self.spool, self.boot, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            theirs.close()
        self.workers[pid] = self.by_fd[ours.fileno()] = worker = Worker(pid, ours)
        self.poller.register(ours, select.POLLIN)
        return worker

    def start(self, job: str) -> None:
        """Give a job to a supervisor that waits, or to a new one."""
        while True:
            fresh = not self.idle
            worker = self.fork() if fresh else self.idle.pop()
            try:
                worker.orders.send(job.encode())
            except OSError:
                if fresh:
                    raise
                continue
            worker.job = job
            self.report.append(f"S {job} {worker.pid}\n")
            return

    def take(self, data: bytes) -> None:
        """Start what the complete lines name."""
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            job = line.decode("ascii", "replace")
            if len(job) != 32 or not all(c in "0123456789abcdef" for c in job):
                continue
            try:
                self.start(job)
            except OSError as error:  # no more processes or descriptors
                self.report.append(f"X {job} {error.errno or errno.EAGAIN}\n")

    def done(self, worker: Worker, code: str) -> None:
        """Report the end of a worker's job."""
        if worker.job:
            self.report.append(f"X {worker.job} {code}\n")
            worker.job = ""

    def hear(self, worker: Worker) -> None:
        """A worker has spoken, or its line has broken."""
        code = worker.answer()
        if not code:
            self.hang_up(worker)
            return
        self.done(worker, code)
        worker.idle_since = now()
        self.idle.append(worker)

    def hang_up(self, worker: Worker) -> None:
        """Send no more work to a worker. What it still runs is reported when it has ended."""
        fd = worker.orders.fileno()
        if fd in self.by_fd:
            self.poller.unregister(fd)
            del self.by_fd[fd]
        if not worker.job:
            worker.orders.close()
        if worker in self.idle:
            self.idle.remove(worker)

    def shrink(self) -> int | None:
        """Let go of supervisors that nobody needs; gives the milliseconds until the next may go."""
        while len(self.idle) > MIN_IDLE:
            rest = self.idle[0].idle_since + IDLE_LIMIT - now()  # the last one is taken first: this is oldest
            if rest > 0:
                return int(rest * 1000) + 1
            self.hang_up(self.idle[0])
        return None

    def reap(self) -> None:
        """Take note of supervisors that have ended; orphans of dead supervisors are only reaped."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            worker = self.workers.pop(pid, None)
            if worker is not None:
                # it may have answered and then ended
                answer = worker.answer() if worker.job else ""
                self.done(worker, answer or str(os.waitstatus_to_exitcode(status)))
                self.hang_up(worker)

    def tell(self) -> None:
        """Write what there is to report."""
        data = memoryview("".join(self.report).encode())
        self.report.clear()
        while data:
            data = data[os.write(1, data) :]

    def run(self) -> None:
        """Serve until the agent is gone."""
        become_subreaper()
        signal.set_wakeup_fd(self.wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, ignore)
        # what is loaded now is shared with all supervisors for as long as nothing touches it
        gc.disable()
        gc.freeze()
        self.poller.register(0, select.POLLIN)
        self.poller.register(self.wakeup, select.POLLIN)
        try:
            while True:
                for fd, _ in self.poller.poll(self.shrink()):
                    if fd == self.wakeup:
                        read_some(fd)
                        self.reap()
                    elif fd:
                        if fd in self.by_fd:
                            self.hear(self.by_fd[fd])
                    else:
                        data = os.read(0, CHUNK)
                        if not data:
                            return
                        self.take(data)
                self.tell()
        except BrokenPipeError:
            return


if __name__ == "__main__":
    os.umask(0o077)
    os.chdir("/")
    Launcher(sys.argv[1]).run()
