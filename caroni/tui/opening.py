"""From one screen to what belongs to it on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caroni.services.following import inputs_of, latest_job
from caroni.services.workflows import WorkflowShown
from caroni.tui.paint import said

if TYPE_CHECKING:
    from caroni.tui.screens.base import ConsoleScreen

#: characters of a value that may stand in a form
_TYPED = 10_000


def open_log(screen: ConsoleScreen, workflow_uuid: bytes, index: int) -> None:
    """Show the latest job of a step with what it wrote; says so where it has had none."""

    async def look() -> None:
        from caroni.tui.screens.job import JobScreen

        peer, job = await screen.site.read(lambda store: latest_job(store, workflow_uuid, index))
        if job:
            screen.host.open(JobScreen(screen.site, peer, job))
        else:
            screen.host.say("the step has had no job yet", "warning")

    screen.ask(look)


def open_again(screen: ConsoleScreen, workflow: WorkflowShown) -> None:
    """Open the form of a workflow's template with the values that the workflow was begun with."""

    async def look() -> None:
        from caroni.tui.screens.submit import SubmitScreen

        uuid = bytes.fromhex(workflow.workflow)
        values = await screen.site.read(lambda store: inputs_of(store, uuid))
        large = [name for name, value in values.items() if len(value) > _TYPED]
        if large:
            name = said(large[0], 60)
            screen.host.say(
                f"its input {name} is too large for a form: use caroni submit --inputs", "warning"
            )
            return
        screen.host.open(SubmitScreen(screen.site, workflow.template, values=values, name=workflow.name))

    screen.ask(look)


def open_trace(screen: ConsoleScreen, workflow: str, step: str = "") -> None:
    """Show the messages about a workflow or one of its steps."""
    from caroni.tui.screens.trace import TraceScreen

    screen.host.open(TraceScreen(screen.site, workflow=workflow, step=step))
