"""One step of a workflow with all that is known of it: why it is as it is, values, attempts, error output."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from caroni.services.following import StepHere, step_here
from caroni.services.why import why
from caroni.services.workflows import WorkflowShown
from caroni.tui import workflowtext
from caroni.tui.acts import Act
from caroni.tui.opening import open_log, open_trace
from caroni.tui.pictures import Picture
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.steering import Target, hindrance, steer
from caroni.tui.widgets.lines import Lines, Styled


class StepScreen(ConsoleScreen):
    """The full answer to "why is it not running"."""

    NAME = "step"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("step.log", "l", "log", "What its job wrote"),
        Act("step.trace", "t", "trace", "The messages about it"),
        Act("step.pause", "p", "pause", "Suspend its job, or let it go on", writes=True),
        Act("step.retry", "r", "retry", "Try it at once", writes=True),
        Act("step.cancel", "c", "give up", "Let it fail for good", writes=True),
    )

    def __init__(self, site: Site, workflow: WorkflowShown, picture: Picture, index: int) -> None:
        super().__init__(site)
        self._workflow = workflow
        self._uuid = bytes.fromhex(workflow.workflow)
        self._picture = picture
        self._index = index
        self._here: StepHere | None = None
        self._suspended = False

    @property
    def _step_name(self) -> str:
        return self._picture.names[self._index]

    def crumb(self) -> str:
        return self._step_name

    def body(self) -> ComposeResult:
        yield Lines(wrap=True, empty="Looking ...", classes="main")

    async def fetch(self) -> tuple[Styled, ...]:
        plan = await self._picture.whole_plan()
        here = await self.site.read(
            lambda store: step_here(store, self._uuid, self._index, plan.steps[self._index])
        )
        found = await self.site.read(
            lambda store: why(
                self.site.loaded,
                store,
                self._uuid,
                step=self._step_name,
                plans={(self._workflow.template, self._workflow.revision): plan},
                at=self.host.now(),
            )
        )
        self._here = here
        works = found.steps[0].works if found.steps else None
        self._suspended = works is not None and works.pause_wanted
        return tuple(workflowtext.of_one_step(here, found, self.host.now()))

    def paint(self, snapshot: tuple[Styled, ...]) -> None:
        self.query_one(Lines).set_lines(snapshot)
        self.refresh_bindings()

    def find(self, text: str, final: bool) -> None:
        self.query_one(Lines).seek(text)

    def find_next(self, direction: int) -> None:
        self.query_one(Lines).seek_next(direction)

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """What makes no sense for a step in this state."""
        here = self._here
        if act.id not in ("step.log", "step.pause", "step.retry", "step.cancel"):
            return ""
        if here is None:
            return "it is not read yet"
        state = here.step.state
        if act.id == "step.log":
            return "" if here.job else "the step has had no job yet"
        if refusal := hindrance("", state, False):
            return refusal
        if act.id == "step.pause" and state not in ("fulfilled", "running"):
            return f"it has no job that could be suspended: it is {state}"
        if act.id == "step.retry" and not (state == "held" or (state == "waiting" and here.step.attempt)):
            return f"there is nothing to try again: it is {state}"
        return ""

    def _steer(self, verb: str) -> None:
        row = self._workflow
        steer(self, verb, [Target(workflow=row.workflow, name=row.name, step=self._step_name)])

    def do_log(self) -> None:
        """Its output."""
        open_log(self, self._uuid, self._index)

    def do_trace(self) -> None:
        """Its messages."""
        open_trace(self, self._workflow.workflow, self._step_name)

    def do_pause(self) -> None:
        """Suspend its job or let it go on."""
        self._steer("resume" if self._suspended else "pause")

    def do_retry(self) -> None:
        """At once."""
        self._steer("retry")

    def do_cancel(self) -> None:
        """For good."""
        self._steer("cancel")
