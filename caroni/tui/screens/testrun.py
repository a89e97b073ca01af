"""A job definition run once, here, as the agent would: sample inputs, then what came of it, live."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input
from textual.worker import Worker

from caroni.errors import CaroniError
from caroni.services.arguments import decoded_values
from caroni.services.checking import check_definition
from caroni.services.drafts import Drafts, draft_of, state_directory
from caroni.services.tryout import Progress, TryOut, try_text
from caroni.services.words import size
from caroni.tui.acts import Act
from caroni.tui.glyphs import look
from caroni.tui.paint import BOLD, DIM, said
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines, Styled
from caroni.tui.widgets.note import Note


class TestRunScreen(ConsoleScreen, inherit_bindings=False):
    """Inputs above, remembered by definition; below them outputs, stdout and stderr."""

    __test__ = False
    NAME = "test run"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("testrun.run", "f5", "run", "Run it with these inputs", writes=True, priority=True),
        Act("testrun.kill", "f7", "kill", "Kill what runs", priority=True),
        Act("testrun.pane", "f8", "pane", "Inputs, or what came of it", priority=True),
        Act("screen.back", "escape", "back", "Kill what runs, else go back"),
    )

    DEFAULT_CSS = """
    TestRunScreen #inputs { height: auto; max-height: 8; }
    TestRunScreen #inputs Horizontal { height: 1; }
    TestRunScreen #inputs Note { width: 30; }
    TestRunScreen #state { background: $panel; color: $foreground; }
    """

    def __init__(self, site: Site, name: str, text: str) -> None:
        super().__init__(site)
        self.text_name = name
        self._text = text
        definition = check_definition(text).definition
        self._types = dict(definition.inputs) if definition else {}
        self._remembered = Drafts(state_directory() / "samples")
        self._run: Worker[None] | None = None
        self.ran: TryOut | None = None

    def crumb(self) -> str:
        return f"{said(self.text_name, 60)} test run"

    def body(self) -> ComposeResult:
        from caroni.core import cwltypes

        with Vertical():
            with VerticalScroll(id="inputs", can_focus=False):
                for place, (name, type_) in enumerate(self._types.items()):
                    with Horizontal():
                        yield Note(f" {name}: {cwltypes.describe(type_)}")
                        yield Input(id=f"value-{place}", placeholder=_hint(type_), compact=True)
            yield Note(id="state")
            yield Lines(wrap=True, empty="F5 runs it.", classes="main")

    def on_mount(self) -> None:
        """Fill in what was used the last time; a job without inputs starts at once."""
        self._say(look("waiting").glyph, "not run yet: F5 runs it")
        if not self._types:
            self.query_one(Lines).focus()
            if not self.host.readonly:
                self.do_run()
            return
        remembered = self._remembered.load(self.site.uri, "job-inputs", self.text_name)
        for place, name in enumerate(self._types):
            line = self.query_one(f"#value-{place}", Input)
            line.value = (remembered.documents if remembered else {}).get(name, "")
        self.query_one("#value-0", Input).focus()

    @property
    def values(self) -> dict[str, str]:
        """What was filled in."""
        return {
            name: self.query_one(f"#value-{place}", Input).value for place, name in enumerate(self._types)
        }

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The next input; after the last one it runs."""
        if (event.input.id or "").startswith("value-"):
            event.stop()
            if event.input.id == f"value-{len(self._types) - 1}":
                self.run_worker(self.action_act("testrun.run"), group="key")
            else:
                self.focus_next("Input")

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self._run is not None and not self._run.is_finished

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """One at a time."""
        if act.id == "testrun.run" and self.running:
            return "it runs"
        if act.id == "testrun.kill" and not self.running:
            return "nothing runs"
        return super().reason(act)

    def do_run(self) -> None:
        """Run it."""
        self.query_one(Lines).set_lines([])
        self._run = self.run_worker(self._try(self.values), group="try", exclusive=True, exit_on_error=True)
        self.refresh_bindings()

    def do_kill(self) -> None:
        """Kill it; the worker says so when it is dead."""
        if self._run is not None:
            self._run.cancel()
            self._say(look("ended").glyph, "killing it ...")

    def do_pane(self) -> None:
        """The other one."""
        lines = self.query_one(Lines)
        if lines.has_focus and self._types:
            self.query_one("#value-0", Input).focus()
        else:
            lines.focus()

    def leave(self) -> bool:
        """What runs is killed first."""
        if self.running:
            self.do_kill()
            return False
        return True

    async def _try(self, values: dict[str, str]) -> None:
        words = [word for name, value in values.items() if value for word in ("--input", f"{name}={value}")]
        entry = self.host.log_of_commands.begin(self.cli("job", "test", self.text_name, *words))
        self._say(look("running").glyph, "starting")
        try:
            await self._remember(values)
            ran = await try_text(self._text, values, progress=self._tell)
        except asyncio.CancelledError:
            entry.outcome = "killed"
            if self.is_attached:
                self._say(look("ended").glyph, "killed")
            raise
        except CaroniError as error:
            entry.outcome, entry.failed = str(error), True
            self._say(look("failed").glyph, str(error))
        else:
            self.ran = ran
            entry.outcome, entry.failed = ran.outcome.state, ran.outcome.state != "completed"
            self._show(ran)
        self.refresh_bindings()

    async def _remember(self, values: dict[str, str]) -> None:
        draft = draft_of(self.site.uri, "job-inputs", self.text_name, base=0, documents=values, before={})
        try:
            await asyncio.to_thread(self._remembered.save, draft)
        except CaroniError as error:
            self.host.say(f"the inputs are not remembered: {error}", "warning")

    # --- painting --------------------------------------------------------------------------------

    def _say(self, glyph: str, words: str) -> None:
        self.query_one("#state", Note).say(f" {glyph} {words}")

    def _tell(self, progress: Progress) -> None:
        """While it runs."""
        written = f"stdout {size(progress.stdout_bytes)}, stderr {size(progress.stderr_bytes)}"
        self._say(
            look("running").glyph, f"running for {progress.elapsed / 1e6:.1f} s · {written} · F7 kills it"
        )
        lines: list[Styled] = []
        for title, text in (("stdout", progress.stdout), ("stderr", progress.stderr)):
            lines += _section(title, text)
        self.query_one(Lines).set_lines(lines)

    def _show(self, ran: TryOut) -> None:
        outcome = ran.outcome
        good = outcome.state == "completed"
        code = "" if outcome.exit_code is None else f" · exit {outcome.exit_code}"
        used = f"{outcome.wall / 1e6:.2f} s · cpu {outcome.cpu / 1e6:.2f} s · memory {size(outcome.max_rss)}"
        word = {"completed": "done"}.get(outcome.state, outcome.state)
        self._say(look("done" if good else "failed").glyph, f"{word}{code} · {used}")
        lines: list[Styled] = []
        if outcome.info:
            lines += [(outcome.info, BOLD), ""]
        if good:
            shown = json.dumps(decoded_values(outcome.outputs), indent=2, ensure_ascii=False)
            lines += _section("outputs", shown)
        lines += _section("stdout", ran.stdout) + _section("stderr", ran.stderr)
        self.query_one(Lines).set_lines(lines)


def _section(title: str, text: str) -> list[Styled]:
    if not text:
        return [(f"{title}: nothing", DIM)]
    return [(title, BOLD), *(f"  {line}" for line in text.splitlines()), ""]


def _hint(type_: Any) -> str:
    """How a value of a type is written."""
    from caroni.core import cwltypes

    if cwltypes.is_optional(type_):
        return "may be empty"
    if type_ in ("File", "Directory"):
        return "path"
    return "" if isinstance(type_, str) else "as JSON"
