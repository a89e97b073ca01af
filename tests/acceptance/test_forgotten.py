"""An agent whose database is older than what it has done, or gone: nothing is lost, nothing starts twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from caroni.services import databases
from tests.acceptance.site import Site, definition, lines, marked, steps
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode

#: three jobs: one ends while nobody looks, one runs on, one is suspended
JOBS = ("ending", "running", "suspended")


@pytest.fixture
def site(tmp_path: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    tmp_path.chmod(0o700)
    site = Site(tmp_path, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual("a")
        site.settings["CARONI_AGENT__SLOTS"] = "4"
        waits = "until [ -e '{0}/go-{1}' ]; do sleep 0.05; done"
        site.define(
            "a",
            [
                marked(definition(name, waits.format(tmp_path, name), version="7"), tmp_path / "marks")
                for name in JOBS
            ],
        )
        site.template("m", "three", steps(JOBS))
        site.spawn("m", "a")
        yield site
        assert site.bugs() == []
    finally:
        for name in JOBS:
            (tmp_path / f"go-{name}").touch()
        site.close()


def forget(site: Site, copy: Path | None) -> None:
    """Put the agent's database back to a copy, or make it an empty one."""
    for path in site.directory("a").glob("caroni.db*"):
        path.unlink()
    if copy is not None:
        shutil.copy(copy, site.directory("a") / "caroni.db")
        (site.directory("a") / "caroni.db").chmod(0o600)
    else:
        asyncio.run(databases.migrate(site.loaded("a")))


@pytest.mark.parametrize("loss", ["older", "gone"])
async def test_what_the_spool_remembers(site: Site, tmp_path: Path, loss: str) -> None:
    copy = tmp_path / "copy.db"
    assert site.terminate("a") == 0
    shutil.copy(site.directory("a") / "caroni.db", copy)
    await asyncio.to_thread(site.spawn, "a")
    async with site.submitter() as submitter:
        created = await submitter.submit(submitter.new_create("three", {}))

    started = await eventually(lambda: len(found := lines(tmp_path / "marks")) == 3 and found, 30)
    jobs = {
        str(row[0]): str(row[1])
        for row in await site.rows(
            "m", "SELECT s.job_type, j.job_uuid FROM step s JOIN job j ON j.job_uuid = s.job_uuid"
        )
    }
    assert sorted(jobs.values()) == sorted(started)
    (site.directory("a") / "spool" / jobs["suspended"] / "pause").touch()  # as an operator's wish leaves it
    site.kill("a")
    (tmp_path / "go-ending").touch()
    exit_file = site.directory("a") / "spool" / jobs["ending"] / "exit.json"
    await eventually(exit_file.exists, 20, "the job does not end")
    await asyncio.to_thread(forget, site, copy if loss == "older" else None)
    stranger = site.directory("a") / "spool" / ("ab" * 16)
    stranger.mkdir()
    (stranger / "spec.json").write_text("{}")

    await asyncio.to_thread(site.spawn, "a")
    (said,) = [line for line in site.log("a") if "cannot be identified" in line.get("event", "")]
    assert (said["count"], said["some"]) == (1, ["ab" * 16])
    await eventually(lambda: sum(line["event"] == "job found" for line in site.log("a")) == 3, 10)

    async def states() -> dict[str, str]:
        rows = await site.rows("m", "SELECT job_uuid, state FROM job")
        return {name: str(dict(rows)[uuid]) for name, uuid in jobs.items()}

    async def as_it_is() -> bool:
        now = await states()
        return now["ending"] == "completed" and now["running"] == "running" and now["suspended"] != "lost"

    await eventually(as_it_is, 30, "the manager does not hear how the jobs stand")
    for name in JOBS:
        (tmp_path / f"go-{name}").touch()
    assert await site.ended(created.workflow_uuid) == "completed"
    assert lines(tmp_path / "marks") == started, "a job was started twice"
    assert set((await states()).values()) == {"completed"}
    assert len(await site.rows("m", "SELECT job_uuid FROM job")) == 3, "no second attempt of anything"
    await eventually(lambda: site.outbox_is_empty("m", "a"), 20, "messages stay in an outbox")

    async def released() -> bool:
        return await site.rows("a", "SELECT state, released FROM agent_job") == [("completed", 1)] * 3

    await eventually(released, 20, "the jobs are not released")
    assert stranger.is_dir(), "what nobody can identify is left alone"
