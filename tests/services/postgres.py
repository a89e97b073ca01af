"""A private PostgreSQL cluster with ``fsync`` on: its own directory, its own port, ended at will."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.services import Reaper, ServiceFailed, ServiceMissing, accepts, free_ports, wait_until

_USER = "caroni"


def _binaries() -> Path:
    found = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda path: float(path.parent.name),
    )
    if found:
        return found[-1]
    elsewhere = shutil.which("initdb")
    if elsewhere is None:
        raise ServiceMissing("PostgreSQL is not installed: apt-get install postgresql")
    return Path(elsewhere).resolve().parent


class PostgresCluster:
    """One cluster; use :meth:`start` first and :meth:`close` last."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self.directory = Path(tempfile.mkdtemp(prefix="caroni-postgres-"))
        self._reaper = Reaper(self.directory)
        self.data = self.directory / "data"
        (self.port,) = free_ports(1)
        self._databases = 0
        self._server: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            for name in ("postgres", "nobody"):
                with contextlib.suppress(KeyError):
                    account = pwd.getpwnam(name)
                    self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
                    os.chown(self.directory, account.pw_uid, account.pw_gid)
                    break

    def _run(self, program: str, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **self._as,
        )
        if done.returncode:
            raise ServiceFailed(f"{program}: {done.stderr or done.stdout}")
        return done.stdout

    def start(self) -> None:
        """Start (again) and wait until the server takes connections."""
        if not self.data.exists():
            self._run(
                "initdb",
                "-D",
                str(self.data),
                "-U",
                _USER,
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--no-locale",
            )
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        # Not a ``with`` for the child's life: it inherits the descriptor.
        with (self.directory / "log.txt").open("ab") as output:
            self._server = subprocess.Popen(
                [
                    str(self._bin / "postgres"),
                    *("-D", str(self.data), "-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                    *("-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=32MB"),
                ],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._as,
            )
        self._reaper.watch(self._server.pid)
        try:
            wait_until(self._ready, 60, "PostgreSQL does not take connections")
        except ServiceFailed as error:
            log = (self.directory / "log.txt").read_text(errors="replace")[-2000:]
            self.close()
            raise ServiceFailed(f"{error}: {log}") from None

    def _ready(self) -> bool:
        if self._server is not None and self._server.poll() is not None:
            raise ServiceFailed(f"PostgreSQL ended with status {self._server.returncode}")
        if not accepts(self.port):
            return False
        with contextlib.suppress(ServiceFailed):
            self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER)
            return True
        return False

    def stop(self) -> None:
        """Fast shutdown: transactions are rolled back, files are clean."""
        self._end(signal.SIGINT)

    def kill9(self) -> None:
        """End all server processes at once, as a power cut would; the next start recovers."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(OSError):
            if number == signal.SIGKILL:
                os.killpg(server.pid, number)
            else:
                server.send_signal(number)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        self._reaper.forget(server.pid)

    def url(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        """URL of a database; ``scheme="asyncpg"`` is what Tortoise wants."""
        return f"{scheme}://{_USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Make a database, a copy of ``template`` (which nobody may be using), and return its name."""
        self._databases += 1
        name = f"caroni_{os.getpid()}_{self._databases}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database together with the connections that use it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql and return its plain output."""
        return self._run(
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)
        )

    def close(self) -> None:
        """End the server and remove the files."""
        self.kill9()
        self._reaper.close()
