"""``caroni tui --demo``: its system is whole, tells what passes, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from caroni.cli.demoattach import DemoFailed, demo_system
from caroni.config import load_config
from caroni.services.control import daemon_runs, to_daemon
from caroni.services.definitions import definitions, set_active
from caroni.services.doctor import examine
from caroni.services.workflows import workflows
from tests.services import eventually, wait_until


async def test_there_is_something_to_see_and_to_do() -> None:
    with demo_system() as demo:
        await demo.tap.start()
        manager, *agents = (load_config(path) for path in demo.configurations())
        assert [loaded.config.role for loaded in (manager, *agents)] == ["manager", "agent", "agent", "agent"]
        assert all(daemon_runs(loaded.lock_file) for loaded in (manager, *agents))

        async def states() -> dict[str, str]:
            return {row.name: row.state for row in await workflows(manager)}

        wanted = dict.fromkeys(("text-chain", "diamond", "second-chance", "genomics"), "completed")
        wanted |= {"last-night": "failed", "this-morning": "running", "tonight": "running"}

        async def as_wanted() -> bool:
            return await states() == wanted

        await eventually(as_wanted, 60, lambda: f"not as wanted: {wanted}")
        # what its files say of it is true
        assert {check.state async for check in examine(manager)} <= {"ok", "warning"}
        await eventually(lambda: demo.tap.received > 20, 20)
        assert (demo.tap.state, demo.tap.reason) == ("live", "")
        assert all(tapped.body for tapped in demo.tap.drain(5))
        # an operator switches on what was switched off, and the agent has it
        south = agents[1]
        assert [d.definition.name for d in await definitions(south) if not d.active] == ["print-bulletin"]
        async with to_daemon(south) as store:
            await set_active(south, store, "print-bulletin", True)

            async def taken_up() -> bool:
                rows = await store.database.fetch("SELECT state FROM command")
                return {row[0] for row in rows} == {"done"}

            await eventually(taken_up, 20)
        directory = manager.directory.parent
        await demo.tap.close()
    assert not directory.exists()


def test_nothing_is_left_when_the_console_is_killed() -> None:
    code = (
        "import sys\nfrom caroni.cli.demoattach import demo_system\n"
        "with demo_system() as demo:\n    print(demo.configurations()[0], flush=True)\n    sys.stdin.read()\n"
    )
    console = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert console.stdout is not None
    directory = Path(console.stdout.readline().decode().strip()).parent.parent
    children = psutil.Process(console.pid).children(recursive=True)
    assert directory.is_dir()
    assert children
    os.kill(console.pid, signal.SIGKILL)
    console.wait()
    console.stdout.close()
    assert console.stdin is not None
    console.stdin.close()
    wait_until(lambda: not any(_alive(child) for child in children), 20, "the system runs on")
    wait_until(lambda: not directory.exists(), 5, "its directory stays")


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_why_it_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with demo_system() as demo, pytest.raises(DemoFailed, match="did not start: it said nothing"):
        demo.configurations()
