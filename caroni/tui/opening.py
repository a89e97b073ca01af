"""From one screen to what belongs to it on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caroni.services.following import latest_job

if TYPE_CHECKING:
    from caroni.tui.screens.base import ConsoleScreen


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


def open_trace(screen: ConsoleScreen, workflow: str, step: str = "") -> None:
    """Show the messages about a workflow or one of its steps."""
    from caroni.tui.screens.trace import TraceScreen

    screen.host.open(TraceScreen(screen.site, workflow=workflow, step=step))
