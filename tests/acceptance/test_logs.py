"""An operator on the manager's host starts a workflow and follows what its job writes on the agent's."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site import Site, definition, steps
from tests.services import eventually, wait_until
from tests.services.rabbitmq import RabbitNode

ROOT = Path(__file__).parents[2]
#: writes a line and hostile bytes, waits to be let on, writes more than fits into one message, and ends
TALKS = """\
echo "first line"; printf 'caf\\303\\251 \\033[2J\\n'; echo "trouble" >&2
until [ -e '{base}/go' ]; do sleep 0.05; done
seq 1 30000
echo "last line"
exit 3
"""


@pytest.fixture(scope="module")
def site(base: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """A manager, an agent that lets it read logs, and one that does not."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual("open", "closed")
        for agent in ("open", "closed"):
            site.define(agent, [definition(agent, TALKS.format(base=base))])
            site.template("m", agent, steps([agent], attempts=1))
        site.spawn("m", "closed")
        site.spawn("open", CARONI_AGENT__LOG_TAIL="true")
        yield site
        assert site.bugs() == []
    finally:
        (base / "go").touch()
        site.close()


def command(site: Site, whose: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "caroni", *words, "--config", str(site.directory(whose))]


async def caroni(site: Site, whose: str, *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        command(site, whose, *words),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


async def started(site: Site, template: str) -> str:
    """Begin a workflow as the manager's operator; gives its job, which runs."""
    done = await caroni(site, "m", "submit", template)
    assert done.returncode == 0, done.stderr
    workflow = done.stdout.strip()

    async def look() -> str | None:
        rows = await site.rows("m", "SELECT job_uuid, state FROM job WHERE workflow_uuid = ?", workflow)
        return str(rows[0][0]) if rows and rows[0][1] == "running" else None

    found: str = await eventually(look, 30, "the job does not run")
    return found


async def test_a_running_job_is_followed_from_the_managers_side(site: Site, base: Path) -> None:
    (base / "go").unlink(missing_ok=True)
    job = await started(site, "open")
    out, err = base / "out", base / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        # not asyncio's: its output goes to files, and its end is waited for in a thread
        follower = subprocess.Popen(  # noqa: ASYNC220
            command(site, "m", "logs", job[:10], "--follow"), cwd=ROOT, stdout=stdout, stderr=stderr
        )
    try:
        await asyncio.to_thread(
            wait_until, lambda: out.read_bytes() and err.read_bytes(), 20, "nothing is shown of a running job"
        )
        assert out.read_text() == "first line\ncafé \\x1b[2J\n"
        assert err.read_text() == "trouble\n"
        assert follower.poll() is None
        (base / "go").touch()
        assert await asyncio.to_thread(follower.wait, 40) == 0
    finally:
        follower.kill()
    lines = out.read_text().splitlines()
    assert lines[-2:] == ["30000", "last line"]
    # what came in one burst does not fit into one answer: the gap is told
    assert "bytes were written faster than they could be asked for" in err.read_text()

    # the agent's own side has it all, and both know how it ended
    here = await caroni(site, "open", "logs", job, "--tail", "0", "--stream", "stdout")
    assert len(here.stdout.splitlines()) == 30003
    for whose in ("m", "open"):
        shown: Any = json.loads((await caroni(site, whose, "jobs", job, "--json")).stdout)
        assert (shown["state"], shown["exit_code"], shown["failure"]) == ("failed", 3, "job")
        assert shown["wall"] > 0
    # and so has the manager the end of it, also when it is asked for after the job has left its memory
    after = await caroni(site, "m", "logs", job, "--stream", "stdout", "--tail", "100")
    assert after.stdout.endswith("30000\nlast line\n"), after


async def test_an_agent_that_keeps_its_logs_says_so(site: Site, base: Path) -> None:
    (base / "go").unlink(missing_ok=True)
    job = await started(site, "closed")
    done = await caroni(site, "m", "logs", job, "--stream", "stdout")
    assert done.returncode == 1
    assert "lets no manager read logs (its setting agent.log_tail)" in done.stderr
    (base / "go").touch()
    # the end that comes with the job's end is another matter
    ended = await caroni(site, "m", "logs", job, "--stream", "stdout", "--follow")
    assert ended.stdout.endswith("last line\n"), ended
