"""Base-protocol peers over a real broker: each direction, also with a restart in the middle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from caroni.wire.topics import topic_of
from tests.acceptance.base_peer import (
    BaseAgent,
    BaseJobType,
    BaseManager,
    BaseStep,
    JobFails,
    Observer,
    new_topic,
    submit,
)
from tests.acceptance.base_wire import encode
from tests.acceptance.site import Site, definition
from tests.services import eventually, wait_until
from tests.services.rabbitmq import RabbitNode

LAB = 'base_exchange = "caroni_exchange"\n'
MANAGER_RULES = """
[[manager.trust]]
agent = "unsigned:*"
job_types = ["*"]
[[manager.allow_submitter]]
submitter = "unsigned:*"
templates = ["text-chain", "typed"]
"""
AGENT_RULES = """
[[agent.allow]]
manager = "unsigned:*"
job_types = ["*"]
"""

TYPED = """
cwlVersion: v1.2
class: Workflow
$namespaces: {caroni: 'urn:caroni:cwl:'}
hints: {caroni:CaroniRequirement: {maxAttempts: 3, backoff: 0s}}
inputs: {n: int}
outputs: {m: {type: int, outputSource: more/m}}
steps:
  more:
    hints: {caroni:CaroniRequirement: {CaroniJobName: more}}
    run: {class: Operation, inputs: {n: int}, outputs: {m: int}}
    in: {n: n}
    out: [m]
"""


def lab_mode(site: Site, name: str, rules: str) -> None:
    """What the operator of a laboratory writes into a daemon's configuration."""
    path = site.directory(name) / "caroni.toml"
    text = path.read_text()
    assert '# exchange = "caroni"\n' in text
    text = text.replace('# exchange = "caroni"\n', LAB)
    path.write_text(f'{text}{rules}\n[security]\nmode = "lab"\n')


@pytest.fixture(scope="module")
def url(rabbit_node: RabbitNode) -> str:
    return rabbit_node.url(rabbit_node.vhost())


def listening(site: Site, *names: str) -> None:
    """Start daemons and wait for their queues: what base peers say before is lost."""
    site.spawn(*names)
    for name in names:

        def connected(name: str = name) -> bool:
            return any(line.get("event") == "broker_connected" for line in site.log(name))

        wait_until(connected, 30, f"{name} does not connect")


@pytest.fixture(scope="module")
def lab(base: Path, url: str, new_database: Callable[[], dict[str, Any]]) -> Iterator[Site]:
    """A manager ``m`` without agents of its own, and an agent ``a`` that works for base managers."""
    site = Site(base, url)
    try:
        site.make("manager", "m", **new_database())
        site.make("agent", "a", **new_database())
        site.make("submitter", "s")
        site.sample("text-chain", ("a",) * 2)
        site.template("m", "typed", TYPED)
        site.template("m", "leased", TYPED.replace("maxAttempts: 3", "maxAttempts: 3, lostAfter: 2s"))
        wait = f'while ! [ -e "{base}/gate" ]; do sleep 0.05; done\n'
        wait += 'printf \'{"text": "waited"}\' > outputs.json'
        count = "printf '{\"m\": %s}' $(($(cat inputs/n) + 1)) > outputs.json"
        site.define(
            "a",
            [
                definition("count", count, inputs="n: int", outputs="m: int"),
                definition("wait", wait, inputs="text: string", outputs="text: string"),
                definition("broken", "exit 3", inputs="text: string", outputs="text: string"),
            ],
        )
        lab_mode(site, "m", MANAGER_RULES)
        lab_mode(site, "a", AGENT_RULES)
        # each other's signed traffic is none of their business here: all work is base peers'
        path = site.directory("m") / "caroni.toml"
        path.write_text(
            path.read_text().replace("caroni://site.example/agent/*", "caroni://site.example/agent/none")
        )
        listening(site, "m", "a")
        yield site
        assert site.bugs() == []
    finally:
        site.close()


@pytest.fixture(scope="module")
def strict(base: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """A manager that takes signed messages only."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()), "strict.example")
    try:
        site.make("manager", "m")
        site.template("m", "typed", TYPED)
        listening(site, "m")
        yield site
        assert site.bugs() == []
    finally:
        site.close()


def manager_topic(site: Site) -> str:
    return topic_of(site.uri("m"))


CHAIN_JOBS = {
    "upper-case": BaseJobType(frozenset({"message"}), lambda i: {"shouted": i["message"].upper()}),
    "prepend": BaseJobType(frozenset({"text", "prefix"}), lambda i: {"prefixed": i["prefix"] + i["text"]}),
    "append": BaseJobType(frozenset({"text", "suffix"}), lambda i: {"suffixed": i["text"] + i["suffix"]}),
}


def chain() -> list[BaseStep]:
    return [
        BaseStep("upper-case", {"message": "message"}, frozenset({"shouted"})),
        BaseStep("prepend", {"text": "shouted", "prefix": "prefix"}, frozenset({"prefixed"})),
        BaseStep("append", {"text": "prefixed", "suffix": "suffix"}, frozenset({"suffixed"})),
    ]


VALUES = {"message": "caroni rocks", "prefix": "prepend ", "suffix": " append"}
RESULT = "prepend CARONI ROCKS append"


# --- our manager, a base agent ---------------------------------------------------------------------


async def test_a_base_agent_serves_our_manager(lab: Site, url: str) -> None:
    async with Observer(url) as observer, BaseAgent(url, CHAIN_JOBS) as agent:
        update = await lab.run("text-chain", {"message": '"caroni rocks"'})
        assert update.outputs == {"final_text": f'"{RESULT}"'}
        assert agent.names().count("JobFulfillmentOfferAccept") == 3
        assert agent.names().count("JobDataAvailable") == 3
        assert set(agent.names()) == {
            "JobFulfillmentRequest",
            "JobFulfillmentOfferAccept",
            "JobStatusRequest",
            "JobDataAvailable",
        }
        # the submit, and all else between those who sign, goes another way
        assert set(observer.names()) == set(agent.names()) | set(agent.names("sent"))


async def test_a_value_is_read_as_its_type_wants(lab: Site, url: str) -> None:
    jobs = {"more": BaseJobType(frozenset({"n"}), lambda i: {"m": str(int(i["n"]) + 1)})}
    async with BaseAgent(url, jobs):
        update = await lab.run("typed", {"n": "41"})
        assert update.outputs == {"m": "42"}


async def test_a_job_that_fails_is_tried_again(lab: Site, url: str) -> None:
    tries = []

    def run(inputs: dict[str, str]) -> dict[str, str]:
        tries.append(inputs)
        if len(tries) < 2:
            raise JobFails
        return {"m": "7"}

    async with BaseAgent(url, {"more": BaseJobType(frozenset({"n"}), run)}):
        update = await lab.run("typed", {"n": "6"})
        assert update.outputs == {"m": "7"}
    assert len(tries) == 2


class Goes(BaseAgent):
    """Offers, and has no queue any more when the answer comes."""

    async def on_JobFulfillmentRequest(
        self, manager: str, request_uuid: bytes, job_type_name: str, parameters: dict[str, str]
    ) -> None:
        await self.queue.unbind(self.exchange, self.topic)
        await super().on_JobFulfillmentRequest(manager, request_uuid, job_type_name, parameters)


async def test_an_agent_without_a_queue_is_given_up_at_once(lab: Site, url: str) -> None:
    jobs = {"more": BaseJobType(frozenset({"n"}), lambda i: {"m": "2"})}
    async with Goes(url, jobs) as first, lab.submitter() as submitter:
        workflow = (await submitter.submit(submitter.new_create("typed", {"n": "1"}))).workflow_uuid
        await eventually(lambda: "JobFulfillmentOffer" in first.names("sent"), 20)
        await eventually(lambda: any(line["event"] == "base peer has gone" for line in lab.log("m")), 20)
        await first.vanish()
        async with BaseAgent(url, jobs):
            assert await lab.ended(workflow) == "completed"


async def test_a_lease_ends_for_an_agent_that_dies_while_its_job_runs(lab: Site, url: str) -> None:
    running, go_on = threading.Event(), threading.Event()

    def run(inputs: dict[str, str]) -> dict[str, str]:
        running.set()
        go_on.wait(60)
        return {"m": "0"}

    async with BaseAgent(url, {"more": BaseJobType(frozenset({"n"}), run)}) as first:
        async with lab.submitter() as submitter:
            workflow = (await submitter.submit(submitter.new_create("leased", {"n": "1"}))).workflow_uuid
        await eventually(running.is_set, 20)
        await first.vanish()
        async with BaseAgent(url, {"more": BaseJobType(frozenset({"n"}), lambda i: {"m": "2"})}):
            assert await lab.ended(workflow) == "completed"
        go_on.set()


async def test_our_manager_is_killed_in_the_middle(lab: Site, url: str) -> None:
    """A base agent hears nothing twice, and what it says meanwhile waits in a queue of ours."""
    running, go_on = threading.Event(), threading.Event()

    def prepend(inputs: dict[str, str]) -> dict[str, str]:
        running.set()
        assert go_on.wait(60)
        return {"prefixed": inputs["prefix"] + inputs["text"]}

    jobs = {**CHAIN_JOBS, "prepend": BaseJobType(frozenset({"text", "prefix"}), prepend)}
    async with BaseAgent(url, jobs) as agent:
        async with lab.submitter() as submitter:
            create = submitter.new_create("text-chain", {"message": '"caroni rocks"'})
            workflow = (await submitter.submit(create)).workflow_uuid
        await eventually(running.is_set, 20)
        lab.kill("m")
        go_on.set()
        await eventually(lambda: agent.names("sent").count("JobDataAvailable") == 2, 20)
        lab.spawn("m")
        assert await lab.ended(workflow) == "completed"
        agent.check()
        assert agent.names().count("JobFulfillmentOfferAccept") == 3


# --- our agent, a base manager ---------------------------------------------------------------------


@pytest.mark.parametrize("repeat_data", [False, True])
async def test_our_agent_serves_a_base_manager(lab: Site, url: str, repeat_data: bool) -> None:
    async with BaseManager(url, chain(), dict(VALUES), repeat_data=repeat_data) as manager:
        await manager.finish(30)
        assert manager.values["suffixed"] == RESULT
        await agent_is_quiet(lab, manager)


async def agent_is_quiet(lab: Site, manager: BaseManager) -> None:
    """Everything has left, and nothing is kept to be repeated."""

    async def released() -> bool:
        jobs = await lab.rows(
            "a", "SELECT released FROM agent_job WHERE manager = ?", f"unsigned:{manager.topic}"
        )
        return len(jobs) == len(manager.steps) and all(released for (released,) in jobs)

    await eventually(released, 20)
    await eventually(lambda: lab.outbox_is_empty("a"), 20)
    manager.check()


async def test_values_of_other_types_and_jobs_that_fail(lab: Site, url: str) -> None:
    count = BaseStep("count", {"n": "n"}, frozenset({"m"}))
    async with BaseManager(url, [count], {"n": "41"}) as manager:
        await manager.finish(30)
        assert manager.values["m"] == "42"
    broken = BaseStep("broken", {"text": "message"}, frozenset({"text"}))
    async with BaseManager(url, [broken], {"message": "x"}) as manager:
        await manager.finish(30)
        assert manager.failed
        await agent_is_quiet(lab, manager)


async def test_an_input_that_does_not_fit_fails_only_after_running(lab: Site, url: str) -> None:
    """A base manager knows no failure of a job that has not run."""
    count = BaseStep("count", {"n": "n"}, frozenset({"m"}))
    async with BaseManager(url, [count], {"n": "many"}) as manager:
        await manager.finish(30)
        assert manager.failed


async def test_our_agent_is_killed_in_the_middle(lab: Site, url: str, base: Path) -> None:
    """Before its inputs come, and while its process runs: the base manager hears each thing once."""
    steps = [
        BaseStep("upper-case", {"message": "message"}, frozenset({"shouted"})),
        BaseStep("wait", {"text": "shouted"}, frozenset({"text"})),
        BaseStep("append", {"text": "text", "suffix": "suffix"}, frozenset({"suffixed"})),
    ]
    async with BaseManager(url, steps, dict(VALUES)) as manager:
        await eventually(lambda: steps[1].status == "RUNNING" and steps[2].status == "PENDING", 20)
        lab.kill("a")
        (base / "gate").touch()
        lab.spawn("a")
        await manager.finish(40)
        assert manager.values["suffixed"] == "waited append"
        await agent_is_quiet(lab, manager)


# --- a base submitter ------------------------------------------------------------------------------


async def test_a_base_submitter_starts_a_workflow(lab: Site, url: str) -> None:
    async def workflows() -> list[tuple[Any, ...]]:
        query = "SELECT workflow_uuid, submitter, state FROM workflow WHERE name = 'of the base'"
        return await lab.rows("m", query)

    async with BaseAgent(url, CHAIN_JOBS):
        for _ in range(2):  # its label names nothing
            await submit(url, manager_topic(lab), "text-chain", "of the base", {"message": "caroni rocks"})

        async def both() -> bool:
            return [state for _, _, state in await workflows()] == ["completed"] * 2

        await eventually(both, 30)
    assert len({submitter for _, submitter, _ in await workflows()}) == 2
    assert all(submitter.startswith("unsigned:wf.agent.") for _, submitter, _ in await workflows())


# --- who is refused --------------------------------------------------------------------------------


async def unsigned_on_our_exchange(site: Site) -> None:
    """An unsigned submit by the exchange of those who sign: refused, and without effect."""

    async def refused() -> int:
        return len(await site.rows("m", "SELECT reason FROM reject WHERE reason = 'E_UNSIGNED'"))

    async def workflows() -> int:
        return len(await site.rows("m", "SELECT name FROM workflow"))

    before = await workflows()
    connection = await aio_pika.connect(site.url)
    channel = await connection.channel()
    exchange = await channel.get_exchange("caroni")
    body = encode("WorkFlowCreate", template_name="typed", wf_name="no", inputs={"n": "1"})
    message = aio_pika.Message(body, reply_to=new_topic("agent"))
    await exchange.publish(message, routing_key=manager_topic(site))
    await connection.close()
    await eventually(refused, 20)
    assert await workflows() == before


async def test_unsigned_messages_are_taken_from_the_base_exchange_only(lab: Site) -> None:
    await unsigned_on_our_exchange(lab)


async def test_no_unsigned_message_is_taken_outside_lab_mode(strict: Site) -> None:
    await unsigned_on_our_exchange(strict)
