"""Two managers of two sites, each with its own CA, share one agent on one broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caroni.daemon.service import make_submitter
from caroni.daemon.submitter import NoAnswer
from caroni.errors import CaroniError
from tests.acceptance.site import Site, definition, lines, marked, steps
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode


@pytest.fixture(scope="module")
def two(base: Path, rabbit_node: RabbitNode) -> Iterator[tuple[Site, Site, Path]]:
    """``east`` has a manager and the agent (one slot), ``west`` has a manager only."""
    url = rabbit_node.url(rabbit_node.vhost())
    east, west = Site(base, url, "east.example"), Site(base, url, "west.example")
    marks = base / "marks"
    try:
        managers = [f"caroni://{site}/manager/m" for site in ("east.example", "west.example")]
        east.make_usual("a", a={"allow_managers": managers})
        west.make("manager", "m", trust_agents=["caroni://east.example/agent/*"])
        west.make("submitter", "s")
        east.trust("a", west)
        west.trust("m", east)
        east.define("a", [marked(definition("short", "sleep 0.05"), marks)])
        for site, count in ((east, 60), (west, 3)):
            site.template("m", "many", steps(["short"] * count))
        east.settings["CARONI_AGENT__SLOTS"] = "1"
        east.spawn("m", "a")
        west.spawn("m")
        yield east, west, marks
        assert east.bugs() == west.bugs() == []
    finally:
        west.close()
        east.close()


async def test_both_are_served_in_turn_and_see_only_their_own(two: tuple[Site, Site, Path]) -> None:
    east, west, marks = two
    async with east.submitter() as large, west.submitter() as small:
        first = await large.submit(large.new_create("many", {}))
        await eventually(lambda: len(lines(marks)) >= 5, 20)
        second = await small.submit(small.new_create("many", {}))
        began = len(lines(marks))
        assert await west.ended(second.workflow_uuid) == "completed"
        waited = len(lines(marks)) - began
        state, counts = await east.state(first.workflow_uuid)
        # three of its own, in turn with three of the other's, and what started while messages were on the way
        assert waited <= 20, f"{waited} jobs were started until three had ended"
        assert state == "running"
        assert counts["completed"] < 40
        assert await east.ended(first.workflow_uuid) == "completed"

        # the other's submitter asks for what is not his
        for asker, uuid in ((large, second.workflow_uuid), (small, first.workflow_uuid)):
            with pytest.raises(CaroniError, match="no such workflow"):
                await asker.status(uuid, seconds=10)
    # a submitter of the other site is known by his certificate, and may do nothing
    stranger = make_submitter(east.loaded("s"), west.uri("m"))
    await stranger.start(10)
    with pytest.raises(NoAnswer):  # the refusal is of a site that he does not believe
        await stranger.submit(stranger.new_create("many", {}), 2)
    await stranger.close()
    assert any(
        line["event"] == "workflow rejected" and line["submitter"] == east.uri("s") for line in west.log("m")
    )
    owners = {
        site.uri("m"): {row[0] for row in await site.rows("m", "SELECT job_uuid FROM job")}
        for site in (east, west)
    }
    assert [len(jobs) for jobs in owners.values()] == [60, 3]
    of_agent = await east.rows("a", "SELECT manager, job_uuid FROM agent_job")
    assert {manager: {uuid for owner, uuid in of_agent if owner == manager} for manager in owners} == owners
    assert sorted(lines(marks)) == sorted(uuid for jobs in owners.values() for uuid in jobs)
    for site, other in ((east, west), (west, east)):
        # no manager has taken in anything of the other
        peers = {row[0] for row in await site.rows("m", "SELECT uri FROM peer")}
        assert other.uri("m") not in peers
        assert peers <= {east.uri("a"), east.uri("s"), site.uri("s")}
        assert len(await site.rows("m", "SELECT * FROM workflow")) == 1
