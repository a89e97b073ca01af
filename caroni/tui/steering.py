"""Cancelling, pausing, resuming and retrying from a screen: what it affects is read and said before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from caroni.core.commands import CancelWorkflow, Command, PauseWorkflow, ResumeWorkflow, RetrySteps
from caroni.services import control
from caroni.services.control import Affected
from caroni.services.words import plural, said

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.tui.screens.base import ConsoleScreen

#: workflows that a question names one by one
_NAMED = 8
_ENDED = ("completed", "failed", "cancelled")
_KINDS: dict[str, type[CancelWorkflow | PauseWorkflow | ResumeWorkflow | RetrySteps]] = {
    "cancel": CancelWorkflow,
    "pause": PauseWorkflow,
    "resume": ResumeWorkflow,
    "retry": RetrySteps,
}
_MEANS = {
    "cancel": "Nothing more is asked for, and what runs is killed. This cannot be undone.",
    "pause": "Nothing new is asked for; what runs goes on.",
    "resume": "What waits is asked for again.",
    "retry": "Held steps, and those that wait for their next attempt, are tried at once.",
}
_MEANS_STEPS = {
    "cancel": "The step fails for good, and what depends on it cannot run. This cannot be undone.",
    "pause": "Its job is suspended.",
    "resume": "Its suspended job goes on.",
    "retry": "It is tried at once. A held step may run a second time.",
}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow, or one of its steps, that something is done to."""

    workflow: str
    name: str
    step: str = ""

    @property
    def short(self) -> str:
        """The beginning of the id, as people type it."""
        return self.workflow[:12]


def steer(screen: ConsoleScreen, verb: str, targets: Sequence[Target]) -> None:
    """Ask, then do: ``cancel``, ``pause``, ``resume`` or ``retry``. To cancel, an id has to be typed.

    Args:
        screen: whose site and command log it goes through.
        verb: what.
        targets: to whom.
    """
    if targets:
        screen.ask(partial(_dialogue, screen, verb, targets))


async def _dialogue(screen: ConsoleScreen, verb: str, targets: Sequence[Target]) -> None:
    async def look(store: Store) -> list[Affected]:
        named = targets[:_NAMED]
        return [await control.affected(store, bytes.fromhex(target.workflow)) for target in named]

    found = await screen.site.read(look)
    lines = [_line(verb, target, one) for target, one in zip(targets, found, strict=False)]
    if len(targets) > _NAMED:
        lines.append(f"and {len(targets) - _NAMED} more")
    steps = bool(targets[0].step)
    lines.append((_MEANS_STEPS if steps else _MEANS)[verb])
    what = f"step {targets[0].step}" if steps else _what(targets)
    phrase = ""
    if verb == "cancel":
        phrase = targets[0].workflow[:4] if len(targets) == 1 else f"cancel {len(targets)}"
    if not await screen.confirm(f"{verb.capitalize()} {said(what, 80)}?", lines, phrase):
        return
    for target in targets:
        words = [verb, target.short, *(("--step", target.step) if target.step else ())]
        screen.do(f"{verb} {said(target.step or target.name or target.short, 40)}", screen.cli(*words),
                  partial(_give, screen, verb, target))  # fmt: skip


async def _give(screen: ConsoleScreen, verb: str, target: Target) -> str:
    steps = (target.step,) if target.step else ()
    command: Command = _KINDS[verb](workflow_uuid=bytes.fromhex(target.workflow), steps=steps)
    answer = await screen.site.write(lambda store: control.give(screen.site.loaded, store, command))
    count = answer.result.get("affected", 0)
    return f"done, {plural(int(count), 'step')} affected"


def _what(targets: Sequence[Target]) -> str:
    if len(targets) > 1:
        return plural(len(targets), "workflow")
    return f"workflow {targets[0].name or targets[0].short}"


def _line(verb: str, target: Target, found: Affected) -> str:
    name = f"{said(found.name, 60)} ({target.short})" if found.name else target.short
    if target.step:
        return f"of {name}, which is {found.state}"
    jobs = plural(found.jobs, "live job")
    killed = " that will be killed" if verb == "cancel" and found.jobs else ""
    return f"{name} is {found.state}: {plural(found.steps_left, 'step')} not done, {jobs}{killed}"


def hindrance(verb: str, state: str, paused: bool) -> str:
    """Why a workflow in this state cannot be steered so; empty if it can."""
    if state in _ENDED:
        return f"it is {state}"
    if state == "cancelling":
        return "it is being cancelled"
    if verb == "pause" and paused:
        return "it is paused already"
    return ""
