"""The spool: one directory per job, through which agent and supervisor speak across each other's deaths.

::

    spool/<job_uuid hex>/
        spec.json            what the supervisor does
        claim                who runs the job; appears complete, once, durably, before anything runs
        stdout, stderr       capped; absent while nothing was written
        kill, pause          wishes: end (text: grace in microseconds), be suspended
        exit.json            how it ended; durable
        tmp/                 the job's TMPDIR
        work/                the job's working directory and HOME
            inputs.json      all inputs
            inputs/<name>    one input: the text of a string, JSON otherwise
            outputs.json     written by the job

A directory is made under another name and then renamed: where it exists it is complete, and nobody
writes into it again. ``spec.json`` and the inputs are not flushed to disk: all they hold is in the
database, and after a reboot an unclaimed directory is made anew (the boot id in ``spec.json`` tells).
What must outlive a power cut is the claim, so that no job starts twice, and ``exit.json``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import msgspec

from caroni.core import cwltypes
from caroni.core.messages import FailureClass
from caroni.core.plan import SECOND
from caroni.core.valuewords import quoted
from caroni.execution import launcher
from caroni.execution.claims import Claim, ExitRecord, Found, is_alive
from caroni.execution.definition import PARAMETER_NAME, JobDefinition
from caroni.execution.executor import JobRefused, JobSpec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: longest value that is also given in the environment, and most bytes of values given there, in bytes
MAX_ENV_VALUE = 32 << 10
MAX_ENV_TOTAL = 512 << 10
SCRATCH = "tmp"
JOB_DIRECTORY = re.compile(r"[0-9a-f]{32}\Z")
#: directories that are being made or removed, and by which process
_DRAFT = re.compile(r"\.(?:new|old)-(\d+)-\d+\Z")
_NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC
_drafts = itertools.count()


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs are run on this host. Durations in microseconds."""

    grace: int = 30 * SECOND
    heartbeat: int = 30 * SECOND
    path: str = DEFAULT_PATH
    #: user that jobs run as ("" = the agent's own); needs an agent that runs as root
    user: str = ""
    #: flush claims and exits to disk; off only where a power cut may repeat a job
    durable: bool = True


class _Boot(msgspec.Struct, frozen=True):
    """What of ``spec.json`` tells whether it can be torn."""

    boot: str


class Spool:
    """The spool directory of one executor. All methods touch the disk: call them in a thread."""

    def __init__(self, root: Path, settings: SpoolSettings) -> None:
        self.root = str(root.absolute())
        self.settings = settings
        self.boot = launcher.boot_id()
        self.bash = shutil.which("bash", path=settings.path) or "/bin/bash"
        self._shared = bool(settings.user)
        self._programs: dict[str, str] = {}
        self._owner: tuple[int, int] | None = None

    def open(self) -> None:
        """Make the directory.

        Raises:
            OSError: it cannot be made.
            KeyError: there is no such user.
        """
        os.makedirs(self.root, mode=0o711 if self._shared else 0o700, exist_ok=True)
        for name in os.listdir(self.root):
            match = _DRAFT.match(name)
            if match and not os.path.exists(f"/proc/{match[1]}"):
                shutil.rmtree(f"{self.root}/{name}", ignore_errors=True)
        if self._shared:
            import pwd

            entry = pwd.getpwnam(self.settings.user)
            self._owner = (entry.pw_uid, entry.pw_gid)
            os.chmod(self.root, 0o711)  # noqa: S103 - the job's user must get through, and see nothing

    def directory(self, job_uuid: bytes) -> str:
        """The job's directory."""
        return f"{self.root}/{job_uuid.hex()}"

    def stored(self) -> list[bytes]:
        """The jobs that have a directory here, known to the daemon or not."""
        return [bytes.fromhex(name) for name in os.listdir(self.root) if JOB_DIRECTORY.match(name)]

    # --- before the job --------------------------------------------------------------------------

    def prepare(self, job: JobSpec) -> None:
        """Write everything the supervisor needs. Files of a job that may be starting are not touched.

        Raises:
            JobRefused: the job cannot be started, for this reason.
        """
        try:
            self._prepare(job)
        except JobRefused:
            raise
        except OSError as error:
            text = f"the job's directory cannot be written: {error.strerror or error}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                text += f"; free some space under {self.root}"
            raise JobRefused(FailureClass.AGENT, text) from None
        except (ValueError, UnicodeError) as error:
            raise JobRefused(FailureClass.INPUT, f"the job cannot be written: {error}") from None

    def _prepare(self, job: JobSpec) -> None:
        values = self._check_inputs(job)
        directory = self.directory(job.job_uuid)
        spec = msgspec.json.encode(self._supervisor_spec(job, values, f"{directory}/work"))
        if self._in_place(directory):
            return
        draft = f"{self.root}/.new-{os.getpid()}-{next(_drafts)}"
        try:
            self._fill(draft, job, values, spec)
            os.rename(draft, directory)
        except FileExistsError:
            pass  # somebody else was quicker; both wrote the same
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return
        finally:
            if os.path.lexists(draft):
                shutil.rmtree(draft, ignore_errors=True)

    def _in_place(self, directory: str) -> bool:
        """Whether the job's directory is there and good; what a power cut has left of one is removed.

        A directory of this boot is complete, and a supervisor may be about to claim it.
        """
        if not os.path.lexists(directory):
            return False
        lock = os.open(f"{self.root}/.lock", os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.lexists(f"{directory}/claim"):
                return True
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
                if (
                    msgspec.json.decode(read_file(f"{directory}/spec.json", 1 << 24), type=_Boot).boot
                    == self.boot
                ):
                    return True
            old = f"{self.root}/.old-{os.getpid()}-{next(_drafts)}"
            os.rename(directory, old)
        finally:
            os.close(lock)
        shutil.rmtree(old, ignore_errors=True)
        return False

    def _fill(self, directory: str, job: JobSpec, values: dict[str, Any], spec: bytes) -> None:
        work = f"{directory}/work"
        own = (work, f"{work}/inputs", f"{directory}/{SCRATCH}")
        os.mkdir(directory, 0o711 if self._shared else 0o700)
        for path in own:
            os.mkdir(path, 0o700)
        whole = ",".join(f"{quoted_name(n)}:{text}" for n, text in sorted(job.inputs.items()))
        self._write(f"{work}/inputs.json", f"{{{whole}}}\n".encode())
        for name, value in values.items():
            text = value if isinstance(value, str) else job.inputs[name]
            self._write(f"{work}/inputs/{name}", text.encode())
        if job.definition.script:
            self._write(f"{work}/.script", job.definition.script.encode())
        if self._owner:
            for path in own:
                os.chown(path, *self._owner)
        self._write(f"{directory}/spec.json", spec, own=False)

    def flush(self) -> None:
        """Make new job directories durable (once for a batch): a durable claim needs its directory."""
        if self.settings.durable:
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _write(self, path: str, data: bytes, own: bool = True) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_FOLLOW, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if own and self._owner:
                os.fchown(fd, *self._owner)
        finally:
            os.close(fd)

    def _check_inputs(self, job: JobSpec) -> dict[str, Any]:
        """The decoded inputs; refuses undeclared, missing and ill-typed ones."""
        declared = job.definition.inputs
        values: dict[str, Any] = {}
        for name, text in job.inputs.items():
            if name not in declared or not PARAMETER_NAME.match(name):
                raise JobRefused(FailureClass.INPUT, f"input {quoted(name)} is not declared by the job")
            try:
                cwltypes.check_json(text, declared[name])
                values[name] = cwltypes.decode_json(text)
            except cwltypes.ValueMismatch as error:
                raise JobRefused(FailureClass.INPUT, f"input {error.under(name)}") from None
            except ValueError as error:
                raise JobRefused(FailureClass.INPUT, f"input {name}: not JSON ({error})") from None
        for name in job.definition.required_inputs:
            if values.get(name) is None:
                raise JobRefused(FailureClass.INPUT, f"input {quoted(name)} is missing")
        return values

    def _supervisor_spec(self, job: JobSpec, values: dict[str, Any], work: str) -> dict[str, Any]:
        definition = job.definition
        limits = [limit for limit in (definition.timeout, job.max_runtime) if limit > 0]
        argv = [self.bash, f"{work}/.script"] if definition.script else list(definition.command)
        if not definition.script:
            argv[0] = self._program(argv[0], definition)
        if self.settings.user:
            uid, gid = self._owner or (0, 0)
            setpriv = self._program("setpriv", definition)
            argv = [
                *(setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--"),
                *argv,
            ]
        return {
            "v": 1,
            "boot": self.boot,
            "manager": job.manager,
            # enough to take the job up again if the database forgets it
            "agent": job.agent,
            "offer": job.offer_uuid.hex(),
            "request": job.request_uuid.hex(),
            "attempt": job.attempt,
            "max_runtime": job.max_runtime,
            "revision": job.definition_revision,
            "parameters": job.parameters,
            "definition": msgspec.Raw(definition.canonical.encode()),
            "program": argv[0],
            "argv": argv,
            "env": self.environment(job, values, work),
            "timeout": min(limits, default=0),
            "grace": self.settings.grace,
            "heartbeat": self.settings.heartbeat,
            "stdout_cap": definition.limits.stdout,
            "stderr_cap": definition.limits.stderr,
            "fsync": self.settings.durable,
            "sync": self.settings.durable and "File" in msgspec.json.encode(definition.outputs).decode(),
        }

    def _program(self, name: str, definition: JobDefinition) -> str:
        """The absolute path of a program; looked up in the job's PATH, never in ours."""
        if "/" in name:
            return name  # relative to the job's directory, where the supervisor starts it
        path = definition.environment.get("PATH", self.settings.path)
        found = self._programs.get(f"{path}\0{name}") or shutil.which(name, path=path)
        if found is None:
            raise JobRefused(
                FailureClass.AGENT, f"program {quoted(name)} was not found in {path} on this agent's host"
            )
        self._programs[f"{path}\0{name}"] = found
        return found

    def environment(self, job: JobSpec, values: dict[str, Any], work: str) -> dict[str, str]:
        """The job's whole environment: nothing of the agent's own is in it.

        Scalars are given as ``CARONI_INPUT_<name>`` and, as base-protocol job types expect it,
        ``CARONI_ENV_<name>``; what is too long or holds a NUL is only in the files.
        """
        environment = {
            "PATH": self.settings.path,
            "LANG": "C.UTF-8",
            "HOME": work,
            "PWD": work,
            "TMPDIR": f"{work.removesuffix('/work')}/{SCRATCH}",
            "SHELL": self.bash,
            "USER": self.settings.user or "caroni",
        } | job.definition.environment
        room = MAX_ENV_TOTAL
        for name, value in values.items():
            if value is None or isinstance(value, dict | list):
                continue
            text = value if isinstance(value, str) else job.inputs[name].strip()
            if len(text) > MAX_ENV_VALUE or "\0" in text:
                continue
            size = 2 * (len(text.encode()) + len(name) + 16)
            if size > 2 * MAX_ENV_VALUE or size > room:
                continue
            room -= size
            environment[f"CARONI_INPUT_{name}"] = environment[f"CARONI_ENV_{name}"] = text
        environment["CARONI_JOB_ID"] = job.job_uuid.hex()
        environment["CARONI_ATTEMPT"] = str(job.attempt)
        environment["CARONI_REQUEST_ID"] = job.request_uuid.hex()
        environment["CARONI_INPUTS"] = f"{work}/inputs.json"
        environment["CARONI_OUTPUTS"] = f"{work}/outputs.json"
        return environment

    # --- during and after it ---------------------------------------------------------------------

    def claim_of(self, job_uuid: bytes) -> Claim | None:
        """The job's claim, if it has one. An unreadable one belongs to nobody alive."""
        try:
            return msgspec.json.decode(read_file(f"{self.directory(job_uuid)}/claim", 4096), type=Claim)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, OSError):
            return Claim(0, 0, self.boot)

    def exit_of(self, job_uuid: bytes) -> ExitRecord | None:
        """How the job ended, if it has."""
        try:
            return msgspec.json.decode(
                read_file(f"{self.directory(job_uuid)}/exit.json", launcher.EXIT_RESERVE), type=ExitRecord
            )
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def inspect(self, job_uuid: bytes) -> tuple[Found, Claim | None]:
        """What has become of a job."""
        claim = self.claim_of(job_uuid)
        if claim is None:
            return Found.NOTHING, None
        # looked at before exit.json, so that an end in between is not taken for a death
        alive = claim.boot == self.boot and is_alive(claim)
        if self.exit_of(job_uuid) is not None:
            return Found.ENDED, claim
        if claim.boot != self.boot:
            return Found.REBOOTED, claim
        return (Found.RUNNING if alive else Found.DEAD), claim

    def wish_end(self, job_uuid: bytes, grace: int) -> None:
        """Record that the job is to end; holds for a job that is only starting, too."""
        directory = self.directory(job_uuid)
        with contextlib.suppress(FileNotFoundError):
            self._write(f"{directory}/kill.tmp", str(grace).encode(), own=False)
            os.rename(f"{directory}/kill.tmp", f"{directory}/kill")

    def wish_pause(self, job_uuid: bytes, wished: bool) -> None:
        """Record that the job is to be suspended, or is not any more."""
        path = f"{self.directory(job_uuid)}/pause"
        with contextlib.suppress(FileNotFoundError):
            if wished:
                self._write(path, b"", own=False)
            else:
                os.unlink(path)

    def tail(self, job_uuid: bytes, stream: str, n: int) -> str:
        """The last ``n`` bytes of a stream as text without NUL (no database keeps that)."""
        data = self.part(job_uuid, stream, -n, n)[1]
        return data.decode(errors="replace").replace("\0", "�")

    def part(self, job_uuid: bytes, stream: str, offset: int, n: int) -> tuple[int, bytes, int]:
        """Offset, bytes and total size of a part of a stream; see :func:`read_part`."""
        return read_part(f"{self.directory(job_uuid)}/{stream}", offset, n)

    def forget(self, job_uuid: bytes) -> None:
        """Delete the job's directory, whatever the job made in it (links are not followed)."""
        shutil.rmtree(self.directory(job_uuid), onerror=_make_removable)


def quoted_name(name: str) -> str:
    """A declared name as a JSON string (names need no escaping)."""
    return f'"{name}"'


def read_file(path: str, limit: int) -> bytes:
    """The first ``limit`` bytes of a file; a link is not followed, a pipe not waited for.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | _NO_FOLLOW | os.O_NONBLOCK)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)


def read_part(path: str, offset: int, n: int) -> tuple[int, bytes, int]:
    """Offset, bytes and total size of a part of a file; a file that is not there is empty.

    Args:
        path: a link in its place is not followed, a pipe not waited for.
        offset: where the part begins; negative: so far before the end.
        n: at most so many bytes, and never more than 1 MiB.

    Raises:
        OSError: it is no file, or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | _NO_FOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return 0, b"", 0
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a file")
        total = found.st_size
        start = max(0, total + offset) if offset < 0 else offset
        return start, os.pread(fd, max(0, min(n, 1 << 20)), start), total
    finally:
        os.close(fd)


def _make_removable(function: Any, path: str, error: Any) -> None:
    """A directory the job made unwritable must not stay for ever; what is gone already is fine."""
    if isinstance(error[1], FileNotFoundError):
        return
    if not isinstance(error[1], PermissionError):
        raise error[1]
    os.chmod(os.path.dirname(path), 0o700, follow_symlinks=True)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    else:
        os.unlink(path)
