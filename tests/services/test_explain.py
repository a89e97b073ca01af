"""Explanations of states that real messages have made, read back from a real database."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings

from caroni.cli.output import _plain
from caroni.core.manager.state import ManagerSettings, Started, Unheard
from caroni.core.messages import (
    AgentPresence,
    DeclineReason,
    FailureClass,
    JobFulfillmentDecline,
    JobFulfillmentOfferWithdrawn,
    JobStatus,
    PresenceState,
    WorkFlowCancel,
    WorkFlowPause,
)
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import Workflow
from caroni.cwl import plan_to_json
from caroni.errors import CaroniError, UsageError
from caroni.model.schema import migrate
from caroni.model.store import Store
from caroni.model.unit import LedgerItem, LedgerRow, Unit
from caroni.services.explain import explain
from caroni.services.explained import Explained, StepExplained
from caroni.services.explaintext import lines, text
from tests.core.build import AGENT, SECOND_AGENT, SUBMITTER, ManagerSide
from tests.core.test_machines import ManagerMachine


@functools.cache
def empty() -> Path:
    """A database with a schema, made once for all states."""
    directory = Path(tempfile.mkdtemp(prefix="caroni-explain-"))
    atexit.register(shutil.rmtree, directory, True)
    path = directory / "empty.db"
    asyncio.run(migrate(f"sqlite://{path}"))
    return path


async def _explain(path: Path, side: Any, uuid: bytes, more: Unit | None, how: dict[str, Any]) -> Explained:
    store = await Store.open(f"sqlite://{path}", "manager")
    try:
        for name, plan in side.plans.items():
            await store.add_template(name, name, "{}", plan_to_json(plan), side.now)
        rows = {kind: list(table.values()) for kind, table in side.state.tables.items()}
        facts = {"started_at": str(side.state.started_at), "hold_until": str(side.state.hold_until)}
        await store.commit(Unit(now=side.now, rows=rows, settings=facts))
        if more is not None:
            await store.commit(more)
        return await explain(store, uuid, ManagerSettings(), side.now, **how)
    finally:
        await store.close()


def explain_side(side: Any, uuid: bytes = b"", more: Unit | None = None, **how: Any) -> Explained:
    source = empty()
    with tempfile.TemporaryDirectory(prefix="caroni-explain-") as directory:
        path = Path(directory) / "caroni.db"
        shutil.copyfile(source, path)
        found = asyncio.run(_explain(path, side, uuid or side.workflow_uuid, more, how))
    # what programs get can be printed, and is what was meant
    json.dumps(found, default=_plain)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explained) == found
    assert all(line and "\n" not in line for line in lines(found))
    assert len(text(found).encode()) <= 128 * 1024
    return found


def only(found: Explained) -> StepExplained:
    (step,) = found.steps
    return step


def decline(side: ManagerSide, by: str, reason: DeclineReason, message: str) -> None:
    m = JobFulfillmentDecline(request_uuid=side.step().request_uuid, reason=reason, decline_message=message)
    side.say(m, by)


def test_nobody_has_answered():
    side = ManagerSide()
    side.say(AgentPresence(state=PresenceState.OFFLINE, offline_for=6 * HOUR, number=1), SECOND_AGENT)
    side.say(AgentPresence(state=PresenceState.ONLINE, number=1), AGENT)
    side.submit("one")
    side.now += 20 * SECOND
    step = only(explain_side(side))
    assert step.why.startswith("nobody has answered for 20 s")
    assert step.next == "asks again"
    assert step.next_at > side.now
    assert step.asked is not None
    silent = {one.agent: one.presence for one in step.asked.silent}
    assert silent[AGENT] == "online"
    assert silent[SECOND_AGENT].startswith("offline until 2027-01-15 ")
    shown = "\n".join(lines(explain_side(side)))
    assert "next: asks again in 10 s" in shown
    assert f"silent: {AGENT}, online, last heard 20 s ago" in shown


def test_nobody_is_bound():
    side = ManagerSide()
    side.submit("one")
    side.happens(Unheard(requests=(side.step().request_uuid,)))
    step = only(explain_side(side))
    assert step.why == "no agent has job type t: nobody is bound to it at the broker"
    assert step.remedy.startswith("start an agent")


def test_declined_with_reason_and_time():
    side = ManagerSide()
    side.submit("one")
    decline(side, AGENT, DeclineReason.BUSY, "full\x1b[2J\nup")
    request = side.step().request_uuid
    heard = side.now
    side.now += 5 * SECOND
    row = LedgerRow(
        direction="in", peer=AGENT, message_id=b"m" * 16, payload_type="JobFulfillmentDecline",
        fingerprint="", envelope=b"", at=heard,
        items=(LedgerItem(type="JobFulfillmentDecline", conversation_id=request),),
    )  # fmt: skip
    found = explain_side(side, more=Unit(ledger=[row], now=side.now))
    step = only(found)
    assert step.why == "1 agent declined, nobody offers"
    assert step.asked is not None
    (one,) = step.asked.declines
    assert (one.agent, one.reason, one.at) == (AGENT, "busy", heard)
    shown = "\n".join(lines(found))
    assert f"declined: {AGENT} 5 s ago, busy: full\\x1b[2J up" in shown
    assert "\x1b" not in shown


def test_an_offer_that_is_taken_and_not_confirmed():
    side = ManagerSide()
    side.submit("one")
    side.offer(queue_depth=3)
    side.offer(b"p" * 16, by=SECOND_AGENT)
    side.wait(15 * SECOND)
    step = only(explain_side(side))
    assert step.why == f"the offer of {AGENT} is taken; it was told 2 times and has not confirmed"
    assert step.next == "tells it again that its offer is taken"
    assert step.asked is not None
    assert [(o.agent, o.state, o.queue_depth) for o in step.asked.offers] == [
        (AGENT, "accepted", 3),
        (SECOND_AGENT, "received", 0),
    ]


def test_offers_that_came_to_nothing():
    side = ManagerSide()
    side.submit("one")
    side.offer()
    side.say(JobFulfillmentOfferWithdrawn(request_uuid=bytes(16), offer_uuid=b"o" * 16), AGENT)
    found = explain_side(side)
    assert only(found).why == "1 offer came to nothing, nobody offers now"
    assert "was withdrawn" in "\n".join(lines(found))


def test_inputs_that_are_missing():
    side = ManagerSide()
    side.running("chain")
    steps = {step.step: step for step in explain_side(side).steps}
    assert steps["second"].why == "waits for 1 input"
    (waits,) = steps["second"].waits_for
    assert (waits.input, waits.step, waits.state) == ("a", "first", "running")


def test_a_job_in_a_queue_and_its_lease():
    side = ManagerSide()
    side.submit("one")
    side.offer(queue_depth=2, max_offline=3 * HOUR)
    side.accepted()
    side.status(JobStatus.QUEUED)
    found = explain_side(side)
    step = only(found)
    assert step.why == f"is in the queue of {AGENT} (2 jobs waited there when it offered)"
    assert step.works is not None
    assert step.works.promise == "max_offline"
    assert step.works.lost_at == step.works.last_contact + 3 * HOUR
    side.say(AgentPresence(state=PresenceState.OFFLINE, offline_for=12 * HOUR, number=1), AGENT)
    step = only(explain_side(side))
    assert step.works is not None
    assert step.works.promise == "announced"
    assert step.works.away_until > side.now + 11 * HOUR
    assert "it announced its absence" in "\n".join(lines(explain_side(side)))


def test_the_lease_is_the_one_that_decides():
    side = ManagerSide()
    side.running()
    step = only(explain_side(side))
    assert step.works is not None
    lost_at = step.works.lost_at
    while side.now < lost_at:
        assert side.job().state == "running"
        side.now = min(side.state.timers.next_due(), lost_at)
        side.fire_due()
    side.now = lost_at
    side.fire_due()
    assert side.job().state == "lost"


def test_silence():
    side = ManagerSide()
    side.running()
    side.wait(20 * MINUTE)
    found = explain_side(side)
    step = only(found)
    assert step.why == f"no word of {AGENT} for 20 min"
    assert step.works is not None
    assert step.works.suspect
    assert "if it stays silent it is given up in 20 min" in "\n".join(lines(found))


def test_a_failed_attempt_and_the_back_off():
    side = ManagerSide()
    side.running()
    side.status(
        JobStatus.FAILED, failure_class=FailureClass.JOB, exit_code=3, status_info="it broke",
        stderr_tail="one\nno space left\x1b[1m\n\n",
    )  # fmt: skip
    step = only(explain_side(side))
    assert step.why == "waits before the next attempt, after: job: it broke"
    assert step.next == "attempt 2"
    assert "caroni retry" in step.remedy
    (attempt,) = step.attempts
    assert (attempt.state, attempt.failure, attempt.exit_code) == ("failed", "job", 3)
    assert attempt.stderr == "no space left\\x1b[1m"
    assert step.excluded == {AGENT: 4}
    side.wait(20 * SECOND)
    side.offer(b"p" * 16)
    assert only(explain_side(side)).why == f"only {AGENT} offers, which has failed this step before"


def test_held():
    side = ManagerSide()
    side.lost("once")
    found = explain_side(side)
    step = only(found)
    assert step.why == "held, because it must run at most once: lost: no contact with the agent"
    assert step.remedy.startswith(f"caroni retry {side.workflow_uuid.hex()[:12]} --step first")
    assert step.next == f"asks {AGENT} again"
    assert found.why == "1 step cannot go on without an operator's word"


def test_doubtful_after_a_restore():
    side = ManagerSide()
    side.submit("once")
    side.happens(Started(put_back=True))
    found = explain_side(side)
    assert "it may have run already" in only(found).why.replace("this step", "it")
    assert found.notes[0].startswith("the database was put back: jobs that it does not know are left alone")


def test_paused_cancelled_killed():
    side = ManagerSide()
    side.running("pair")
    side.say(WorkFlowPause(workflow_uuid=side.workflow_uuid), SUBMITTER)
    found = explain_side(side)
    assert found.why.startswith("it is paused")
    assert found.remedy == f"caroni resume {side.workflow_uuid.hex()[:12]}"
    side.say(WorkFlowCancel(workflow_uuid=side.workflow_uuid, reason="not needed"), SUBMITTER)
    side.now += 90 * SECOND
    found = explain_side(side)
    assert found.why.startswith("it is being cancelled: not needed; 1 step must end first")
    (step,) = [one for one in found.steps if one.works]
    assert step.why == f"its job is to stop: {AGENT} was told 1 min 30 s ago, which has not confirmed"
    assert "kill: asked 1 min 30 s ago, not confirmed" in "\n".join(lines(found))


def test_one_step_also_when_it_is_done():
    side = ManagerSide()
    side.running("chain")
    side.completes()
    assert only(explain_side(side, step="first")).why == f"done by {AGENT}"
    assert [s.step for s in explain_side(side).steps] == ["second"]
    with pytest.raises(UsageError, match="has no step 'third'"):
        explain_side(side, step="third")


def test_what_holds_everything_back():
    side = ManagerSide(max_open_requests=1)
    side.submit("pair")
    notes = ("the manager does not run",)
    steps = {step.step: step for step in explain_side(side, notes=notes).steps}
    assert steps["second"].why == "could be asked for, but the manager does not run"


def test_a_plan_that_is_gone():
    side = ManagerSide()
    side.submit("one")
    side.plans = {}
    assert "template one, revision 1, is gone" in explain_side(side).notes[0]


def test_rows_that_cannot_be_read(tmp_path):
    side = ManagerSide()
    side.running("chain")
    path = tmp_path / "caroni.db"
    shutil.copyfile(empty(), path)
    asyncio.run(_explain(path, side, side.workflow_uuid, None, {}))
    for table in ("step", "job", "request", "offer", "peer", "workflow"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            column, value = ("presence", 77) if table == "peer" else ("state", "dancing")
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", (value,))  # noqa: S608
            if table == "workflow":
                database.execute("UPDATE workflow SET state = 'dancing'")
            database.commit()

        async def look() -> Explained:
            store = await Store.open(f"sqlite://{path}", "manager")
            try:
                return await explain(store, side.workflow_uuid, ManagerSettings(), side.now)
            finally:
                await store.close()

        if table == "workflow":
            with pytest.raises(CaroniError, match="cannot be read"):
                asyncio.run(look())
        else:
            found = asyncio.run(look())
            assert [step.step for step in found.steps] == ["second"]
            assert "cannot be read" in found.notes[0]
            assert list(lines(found))


def test_too_long_for_a_message():
    side = ManagerSide()
    side.submit("one")
    for number in range(90):
        decline(side, f"caroni://site/agent/a{number}", DeclineReason.POLICY, "no" * 90)
    found = explain_side(side)
    assert len(text(found, 4000).encode()) <= 4000
    assert text(found, 4000).endswith("ask for one step)")


class ExplainedMachine(ManagerMachine):
    """Whatever state a manager is in, it can be explained."""

    def end(self) -> None:
        for uuid in self.whole.state.tables[Workflow]:
            found = explain_side(self.whole, uuid)
            assert found.why
            assert all(step.why for step in found.steps)


TestExplained = ExplainedMachine.TestCase
TestExplained.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
