"""A submitter's commands: its manager is asked over the broker."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from caroni import logs
from caroni.cli.progress import Progress
from caroni.config import Loaded
from caroni.core.messages import StepSummary, WorkFlowStatusUpdate, WorkFlowSummary
from caroni.core.patterns import identity_pattern_problem
from caroni.core.states import WorkflowState
from caroni.daemon.service import make_submitter
from caroni.daemon.submitter import ENDED, Submitter, Wish
from caroni.errors import CaroniError, UsageError
from caroni.services.arguments import decoded_values
from caroni.services.stores import with_article
from caroni.services.workflows import NotCompleted, StepOfWorkflow, WorkflowShown
from caroni.text import safe_line

#: seconds that the broker, and then the manager, have to answer
PATIENCE = 10.0
_MAX_PAGES = 200


def require_submitter(loaded: Loaded) -> None:
    """Refuse another role's configuration.

    Raises:
        UsageError: names the role.
    """
    if loaded.config.role != "submitter":
        raise UsageError(
            f"{loaded.path} is the configuration of {with_article(loaded.config.role)}:"
            " give --config of a submitter (caroni init submitter)"
        )


def manager_of(loaded: Loaded, given: str | None) -> str:
    """The manager that a command is for.

    Raises:
        UsageError: none is named, what is named is none, or the configuration is not a submitter's.
    """
    require_submitter(loaded)
    manager = given or loaded.config.submitter.manager
    if not manager:
        raise UsageError(f"which manager? give --manager, or manager in [submitter] of {loaded.path}")
    if "*" in manager or identity_pattern_problem(manager, "manager"):
        raise UsageError(f"--manager {safe_line(manager, 100)!r} is not caroni://SITE/manager/NAME")
    return manager


@asynccontextmanager
async def seat(loaded: Loaded, manager: str, seconds: float = PATIENCE) -> AsyncIterator[Submitter]:
    """A submitter at the broker.

    Raises:
        NoBroker: not within ``seconds``.
        ConfigError: a key, certificate or setting stops it.
    """
    logs.configure("error", "human")
    submitter = make_submitter(loaded, manager)
    try:
        await submitter.start(seconds)
        yield submitter
    finally:
        await submitter.close()


async def workflows(
    loaded: Loaded, manager: str, *, limit: int, state: str | None = None
) -> list[WorkflowShown]:
    """This submitter's own workflows, the last changed first.

    Raises:
        UsageError: an unknown state.
        NoBroker: the broker is not in reach.
        NoAnswer: the manager does not answer.
    """
    if state is not None and state not in list(WorkflowState):
        raise UsageError(f"--state {safe_line(state, 40)!r} is none of: {', '.join(WorkflowState)}")
    found: list[WorkflowShown] = []
    async with seat(loaded, manager) as submitter:
        async for summary in _own(submitter):
            if state is None or summary.state == state:
                found.append(_shown(summary, loaded.config.uri))
            if len(found) >= limit:
                break
    return found


async def _own(submitter: Submitter) -> AsyncIterator[WorkFlowSummary]:
    for page in range(_MAX_PAGES):
        update = await submitter.status(page=page, seconds=PATIENCE)
        for summary in update.workflows:
            yield summary
        if update.pages <= page + 1:
            return


async def find(submitter: Submitter, which: str) -> bytes:
    """The workflow that is meant by its id, the first characters of it, or its name.

    Raises:
        UsageError: there is none, or more than one.
    """
    digits = which.replace("-", "").lower()
    if re.fullmatch(r"[0-9a-f]{32}", digits):
        return bytes.fromhex(digits)
    prefix = digits if re.fullmatch(r"[0-9a-f]{4,31}", digits) else "-"
    found = [
        s.workflow_uuid
        async for s in _own(submitter)
        if s.wf_name == which or s.workflow_uuid.hex().startswith(prefix)
    ]
    if not found:
        raise UsageError(f"there is no workflow {safe_line(which, 60)!r} of yours; see: caroni list")
    if len(found) > 1:
        some = ", ".join(u.hex()[:12] for u in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(f"{safe_line(which, 60)!r} could be any of {some}: give more of the id")
    return found[0]


async def workflow(loaded: Loaded, manager: str, which: str) -> tuple[WorkflowShown, list[StepOfWorkflow]]:
    """A workflow and its steps.

    Raises:
        UsageError: there is none, or more than one.
        CaroniError: the manager knows none of this id.
    """
    async with seat(loaded, manager) as submitter:
        update = await submitter.status(await find(submitter, which), seconds=PATIENCE)
    return _shown(update.workflows[0], loaded.config.uri), steps_of(update)


async def explanation(loaded: Loaded, manager: str, which: str) -> tuple[WorkflowShown, str]:
    """A workflow, and why it is not running, as its manager puts it.

    Raises:
        UsageError: there is none, or more than one.
        NoAnswer: the manager does not answer.
    """
    async with seat(loaded, manager) as submitter:
        update = await submitter.status(await find(submitter, which), seconds=PATIENCE, explain=True)
    if not update.explanation:
        raise CaroniError(f"{manager} does not explain workflows: its Caroni is older than this one")
    return _shown(update.workflows[0], loaded.config.uri), update.explanation


async def steer(
    loaded: Loaded, manager: str, which: str, wish: Callable[[bytes], Wish]
) -> tuple[WorkflowShown, list[StepOfWorkflow]]:
    """Have a workflow cancelled, paused, resumed or retried; gives how it stands then.

    Raises:
        UsageError: there is none, or more than one.
        CommandRefused: the manager cannot do that; says why.
        NoAnswer: the manager does not answer; what was asked waits in its queue.
    """
    async with seat(loaded, manager) as submitter:
        update = await submitter.steer(wish(await find(submitter, which)), PATIENCE)
    return _shown(update.workflows[0], loaded.config.uri), steps_of(update)


async def outputs(loaded: Loaded, manager: str, which: str) -> dict[str, Any]:
    """The decoded outputs of a workflow.

    Raises:
        NotCompleted: it has not completed; says its state.
    """
    async with seat(loaded, manager) as submitter:
        update = await submitter.status(await find(submitter, which), seconds=PATIENCE)
    summary = update.workflows[0]
    if summary.state != "completed":
        why = f": {safe_line(summary.failure, 500)}" if summary.failure else ""
        raise NotCompleted(f"workflow {safe_line(summary.wf_name, 80)} is {summary.state}{why}")
    if update.error:
        raise CaroniError(safe_line(update.error, 500))
    return decoded_values(update.outputs)


async def follow(
    submitter: Submitter, uuid: bytes, display: Progress, *, ask: bool
) -> tuple[WorkFlowStatusUpdate, list[StepOfWorkflow]]:
    """Show a workflow until its end; gives the last status and the steps.

    Args:
        submitter: connected.
        uuid: the workflow.
        display: is shown every status.
        ask: it was not submitted with ``watch`` just now.
    """
    updates = submitter.watch(uuid) if ask else submitter.follow(uuid)
    steps: list[StepOfWorkflow] = []
    async for update in updates:
        detailed = update
        with contextlib.suppress(CaroniError):  # a push has no steps; they are worth a question
            detailed = await submitter.status(uuid, seconds=PATIENCE)
        steps = steps_of(detailed) or steps
        summary = detailed.workflows[0]
        display.show(summary.state, steps)
        if summary.state in ENDED:
            return detailed, steps
    raise CaroniError("the manager has stopped answering")


def steps_of(update: WorkFlowStatusUpdate) -> list[StepOfWorkflow]:
    """The steps of a status as the displays take them."""
    return [_step(step) for step in update.steps]


def _step(step: StepSummary) -> StepOfWorkflow:
    info, _, tail = step.info.partition("\n")
    return StepOfWorkflow(
        name=step.name,
        state=step.state,
        job_type=step.job_type,
        agent=step.agent,
        attempt=step.attempt,
        started_at=step.started_at,
        ended_at=step.ended_at,
        exit_code=None,
        info=info,
        stderr_tail=tail,
    )


def _shown(summary: WorkFlowSummary, submitter: str) -> WorkflowShown:
    counts = summary.step_counts
    done = sum(counts.get(state, 0) for state in ("completed", "failed", "cancelled"))
    total = sum(counts.values())
    return WorkflowShown(
        workflow=summary.workflow_uuid.hex(),
        name=summary.wf_name,
        template=summary.template_name,
        revision=summary.template_revision,
        state=summary.state,
        paused=summary.paused,
        submitter=submitter,
        steps_total=total,
        steps_left=total - done,
        steps=dict(counts),
        created_at=summary.created_at,
        ended_at=summary.ended_at,
        failure=summary.failure,
    )


async def within(seconds: float | None, work: Any, what: str) -> Any:
    """``work``, given up after ``seconds`` (None: never).

    Raises:
        CaroniError: it took longer; ``what`` says what goes on.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise CaroniError(what) from None
