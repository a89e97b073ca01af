"""What leaves memory and comes back, in the corners that only a restore or an operator reaches."""

from __future__ import annotations

from caroni.core.clockjump import ClockJumped
from caroni.core.commands import CancelWorkflow, RetrySteps
from caroni.core.manager import routes
from caroni.core.manager.state import Started
from caroni.core.messages import JobReport, JobReportEntry, JobStatus
from caroni.core.plan import DAY, HOUR
from caroni.core.rows import Orphan, Peer, Request
from caroni.core.states import RequestState, StepState, WorkflowState
from tests.core.build import AGENT, ManagerSide
from tests.core.forgetful import ForgetfulManager


def held_after_a_restore() -> ForgetfulManager:
    """A step that must run once had been asked for when the database was put back."""
    manager = ForgetfulManager()
    manager.submit("once")
    manager.happens(Started(put_back=True))
    assert manager.step().state is StepState.HELD
    assert manager.request().state is RequestState.WITHDRAWN
    return manager


def test_the_request_of_a_held_step_leaves_with_it() -> None:
    manager = held_after_a_restore()
    manager.command(CancelWorkflow(workflow_uuid=manager.workflow_uuid))
    assert [kind for kind, table in manager.state.tables.items() if table and kind is not Peer] == []


def test_the_request_of_a_held_step_leaves_when_another_follows() -> None:
    manager = held_after_a_restore()
    former = manager.request().request_uuid
    said = manager.command(RetrySteps(workflow_uuid=manager.workflow_uuid))
    assert manager.request().state is RequestState.OPEN
    assert list(manager.state.tables[Request]) == [manager.request().request_uuid]
    assert manager.store.rows[Request, former] in said.changed


def test_a_stranger_that_was_stopped_is_known_when_it_speaks_again() -> None:
    manager = ForgetfulManager()
    manager.happens(Started(put_back=True))
    uuid = b"u" * 16
    report = JobReport(
        report_uuid=b"R" * 16, jobs=(JobReportEntry(job_uuid=uuid, job_status=JobStatus.RUNNING),)
    )
    assert "orphan_job" in manager.say(report, AGENT).notes
    first_at = manager.row(Orphan, (AGENT, uuid)).first_at
    manager.state.evict(Orphan, (AGENT, uuid))
    assert "orphan_job" not in manager.say(report, AGENT).notes
    assert manager.row(Orphan, (AGENT, uuid)).first_at == first_at


def test_steps_that_are_cancelled_together_are_counted_once() -> None:
    manager = ManagerSide()
    manager.submit("chain")
    manager.command(CancelWorkflow(workflow_uuid=manager.workflow_uuid, steps=("first", "second")))
    assert manager.result["affected"] == 1
    assert manager.workflow.steps_left == 0
    assert manager.workflow.state is WorkflowState.FAILED
    assert manager.step("second").state is StepState.CANCELLED


def test_the_hold_moves_with_the_clock() -> None:
    manager = ManagerSide()
    manager.happens(Started(put_back=True))
    until = manager.state.hold_until
    assert until == manager.now + DAY
    manager.now += 30 * DAY
    manager.happens(ClockJumped(by=30 * DAY))
    assert manager.state.hold_until == until + 30 * DAY


def test_a_hold_that_was_not_committed_has_not_begun() -> None:
    manager = ManagerSide()
    draft = manager.draft()
    mark = draft.mark()
    routes.happened(draft, Started(put_back=True))
    assert manager.state.hold_until
    assert manager.state.restored_at
    draft.rollback(mark)
    assert not manager.state.hold_until
    assert not manager.state.restored_at
    assert not draft.facts
    manager.happens(Started(put_back=True))
    first, restored = manager.state.hold_until, manager.state.restored_at
    draft = manager.draft()
    routes.happened(draft, ClockJumped(by=HOUR))
    assert manager.state.hold_until == first + HOUR
    draft.rollback()
    assert (manager.state.hold_until, manager.state.restored_at) == (first, restored)
