"""A private RabbitMQ node on free ports: to be killed, frozen and starved without harm to any other.

The node, its Erlang port mapper and its cookie are its own, so it runs beside a system-wide broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.services import Reaper, ServiceFailed, ServiceMissing, accepts, free_ports, wait_until

# Debian's /usr/sbin/rabbitmq-server is a wrapper that changes to the user rabbitmq.
_BIN = Path("/usr/lib/rabbitmq/bin")
#: vhosts made at boot: one ``rabbitmqctl`` call costs more than a second
_VHOSTS = 16


class RabbitNode:
    """One node; use :meth:`start` first and :meth:`close` last."""

    def __init__(self) -> None:
        if not (_BIN / "rabbitmq-server").exists() or shutil.which("epmd") is None:
            raise ServiceMissing("RabbitMQ is not installed: apt-get install rabbitmq-server")
        self.directory = Path(tempfile.mkdtemp(prefix="caroni-rabbit-"))
        self._reaper = Reaper(self.directory)
        self.port, self._epmd_port, dist = free_ports(3)
        self._vhosts = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        for name in ("home", "log", "mnesia"):
            (self.directory / name).mkdir()
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "vm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.console = false\n"
            f"load_definitions = {self.directory}/definitions.json\n"
        )
        vhosts = ["/", *(f"v{number}" for number in range(_VHOSTS))]
        (self.directory / "definitions.json").write_text(
            json.dumps(
                {
                    "users": [
                        {
                            "name": "guest",
                            "password": "guest",
                            "tags": ["administrator"],
                            "limits": {},
                        }
                    ],
                    "vhosts": [{"name": name} for name in vhosts],
                    "permissions": [
                        {"user": "guest", "vhost": name, "configure": ".*", "write": ".*", "read": ".*"}
                        for name in vhosts
                    ],
                }
            )
        )
        self._environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(self.directory / "home"),
            "RABBITMQ_NODENAME": f"caroni{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(dist),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_LOGS": str(self.directory / "log" / "rabbit.log"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }

    @property
    def pid(self) -> int:
        """Process id of the Erlang machine."""
        return int((self.directory / "pid").read_text())

    def url(self, vhost: str = "/") -> str:
        """URL of the node with its administrator's login."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{'%2F' if vhost == '/' else vhost}"

    def vhost(self) -> str:
        """An empty vhost that nobody has used."""
        name = f"v{self._vhosts}"
        self._vhosts += 1
        if self._vhosts > _VHOSTS:
            self.control("add_vhost", name)
            self.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return name

    def start(self) -> None:
        """Start (again) and wait until the node takes connections."""
        # The port mapper is a child of ours, else the node would leave one running for ever.
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._reaper.watch(self._epmd.pid)
            wait_until(lambda: accepts(self._epmd_port), 10, "epmd does not listen")
        (self.directory / "pid").unlink(missing_ok=True)
        with (self.directory / "log" / "out.txt").open("ab") as output:
            self._server = subprocess.Popen(
                [str(_BIN / "rabbitmq-server")],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._reaper.watch(self._server.pid)
        try:
            wait_until(self._ready, 90, "RabbitMQ does not take connections")
        except ServiceFailed as error:
            log = (self.directory / "log" / "out.txt").read_text(errors="replace")[-2000:]
            self.close()
            raise ServiceFailed(f"{error}: {log}") from None

    def _ready(self) -> bool:
        if self._server is not None and self._server.poll() is not None:
            raise ServiceFailed(f"RabbitMQ ended with status {self._server.returncode}")
        return accepts(self.port)

    def kill9(self) -> None:
        """End the node as a power cut would; its files stay for :meth:`start`."""
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        self._reaper.forget(server.pid)
        wait_until(lambda: not accepts(self.port), 10, "RabbitMQ's port stays open after kill -9")

    def freeze(self) -> None:
        """Stop the node in place: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        os.kill(self.pid, signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` (1 to 2 s) and return its output."""
        done = subprocess.run(
            [str(_BIN / "rabbitmqctl"), "-q", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise ServiceFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def close_all_connections(self) -> None:
        """What an operator does: the broker closes each client's connection with a reason."""
        self.control("close_all_connections", "closed by the operator")

    def memory_alarm(self, on: bool) -> None:
        """Raise or clear the alarm of a node out of memory: it stops reading from publishers at once."""
        what = "{resource_limit, memory, node()}"
        call = f"set_alarm({{{what}, []}})" if on else f"clear_alarm({what})"
        self.control("eval", f"rabbit_alarm:{call}.")

    def close(self) -> None:
        """End everything and remove the files."""
        with contextlib.suppress(ServiceFailed):
            self.kill9()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._reaper.forget(self._epmd.pid)
            self._epmd = None
        self._reaper.close()
