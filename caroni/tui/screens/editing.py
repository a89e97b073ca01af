"""What both editors have: checking while it is typed, drafts, differences before a save, and conflicts."""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.widgets import TextArea

from caroni.errors import CaroniError
from caroni.services.checking import Finding
from caroni.services.drafts import Draft, Drafts, draft_of
from caroni.services.editing import Diff, diff_documents
from caroni.services.words import ago, plural
from caroni.tui.acts import Act
from caroni.tui.glyphs import look
from caroni.tui.paint import said
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.screens.compare import Choice, CompareScreen
from caroni.tui.settled import Settled
from caroni.tui.site import Site
from caroni.tui.widgets.editor import Editor
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.table import Column, Line, LineTable

#: seconds that a text must be still before it is checked, and before it is kept as a draft
CHECK_AFTER, DRAFT_AFTER = 0.4, 1.5


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A revision as the catalogue has it. Revision 0: there is none yet."""

    revision: int
    documents: dict[str, str]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """How a save went: ``conflict`` is what somebody else has saved meanwhile."""

    answer: str
    kept: Kept
    conflict: bool = False


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beside the text: the catalogue's newest revision, and what a save means for others."""

    newest: Kept
    remarks: tuple[str, ...] = ()


class EditorScreen(ConsoleScreen, inherit_bindings=False):
    """A text of the catalogue that is edited. Subclasses give the widgets and know the catalogue.

    ``documents`` are the texts by name. What is typed is checked when it has been still for 0.4 s, and kept
    as a draft after 1.5 s.
    """

    PERIOD = 2.0
    KIND: ClassVar[str] = ""
    #: the ending of files for ``$EDITOR``
    SUFFIX: ClassVar[str] = ".yaml"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("editor.save", "ctrl+s", "save", "Show what changes, then save it", writes=True, priority=True),
        Act("editor.check", "f6", "check", "Check now, and go to what was found", priority=True),
        Act("editor.external", "f4", "$EDITOR", "Edit in your own editor ($EDITOR)", priority=True),
        Act("editor.pane", "f8", "pane", "The next pane", priority=True),
        Act("editor.find", "ctrl+f", "find", "Find in the text", show=False, priority=True),
        Act("editor.again", "f9", "find next", "The next place that was found", show=False, priority=True),
        Act("editor.changes", "f10", "changes", "What has changed since it was saved", show=False,
            priority=True),
        # letters are typed here: of what every screen has, only what is no letter
        Act("screen.back", "escape", "back", "Close what is on top, else go back one screen"),
        Act("screen.refresh", "ctrl+r", "refresh", "Look at the data now", show=False),
        Act("screen.freeze", "f2", "freeze", "Hold the picture still; again to go on", show=False),
    )  # fmt: skip

    DEFAULT_CSS = """
    EditorScreen #status { height: 1; background: $panel; color: $foreground; }
    EditorScreen #findings { height: 5; }
    EditorScreen #findings.-none { display: none; }
    """

    def __init__(self, site: Site, name: str, *, external: bool = False) -> None:
        """``name`` is "" for a new text; ``external`` begins in ``$EDITOR``."""
        super().__init__(site)
        self.text_name = name
        self.kept = Kept(revision=0, documents={})
        self.around = Around(newest=self.kept)
        self.findings: list[Finding] = []
        self.drafts = Drafts()
        self.why_no_draft = ""
        #: why the text cannot be changed at all
        self.fixed_because = ""
        self._loaded = False
        self._external = external
        self._drafted_at = 0.0
        self._draft_kept = False
        self._checked: dict[str, str] | None = None
        self._checks = Settled(CHECK_AFTER, self._check)
        self._autosave = Settled(DRAFT_AFTER, self._keep_draft)

    # --- for subclasses --------------------------------------------------------------------------

    @property
    @abstractmethod
    def documents(self) -> dict[str, str]:
        """The texts as they are now."""

    @abstractmethod
    def show_documents(self, documents: dict[str, str]) -> None:
        """Show other texts."""

    @abstractmethod
    async def look_around(self) -> Around | None:
        """Ask the catalogue; None if the text is not there any more."""

    @abstractmethod
    def inspect(self, documents: dict[str, str]) -> tuple[list[Finding], Any]:
        """In a thread: what is wrong, and whatever :meth:`show_checked` wants."""

    def show_checked(self, more: Any) -> None:
        """Show what a check gave beside its findings."""

    @abstractmethod
    async def keep(self, documents: dict[str, str], expected: int | None) -> Saved:
        """Save; with ``expected`` only over that revision."""

    @abstractmethod
    def save_line(self) -> str:
        """The command line that saves the same."""

    @abstractmethod
    def jump(self, finding: Finding) -> None:
        """Put the cursor where a finding is."""

    @property
    @abstractmethod
    def main_editor(self) -> Editor:
        """The editor that is worked in."""

    @property
    def draft_key(self) -> tuple[str, str, str]:
        """Site, kind and name of the draft."""
        return self.site.uri, self.KIND, self.text_name

    def starter(self) -> dict[str, str]:
        """What a new text begins with."""
        return {}

    def remarks(self) -> Sequence[str]:
        """What to know before it is saved."""
        return self.around.remarks

    # --- frame -----------------------------------------------------------------------------------

    def crumb(self) -> str:
        return f"{self.text_name or 'new'}{' *' if self.changed else ''}"

    @property
    def changed(self) -> bool:
        """Whether the text is another one than was kept."""
        return self._loaded and self.documents != self.kept.documents

    @property
    def unsaved(self) -> str:
        """What would be lost."""
        if not self.changed or self.fixed_because:
            return ""
        return f"{self.KIND} {said(self.text_name, 60) or '(new)'} has changes that are not saved"

    def below(self) -> ComposeResult:
        """Findings and state, below the text."""
        self.found_table = LineTable(
            [Column("", 1), Column("AT", 7), Column("FOUND", 30, grow=1)], id="findings", classes="-none"
        )
        self.status = Note(id="status")
        yield self.found_table
        yield self.status

    def on_mount(self) -> None:
        """Begin to check and to keep drafts."""
        self.run_worker(self._checks.run(), group="check", exit_on_error=True)
        self.run_worker(self._autosave.run(), group="draft", exit_on_error=True)
        if not self.text_name:
            self._take(Kept(revision=0, documents={}), self.starter())

    def on_unmount(self) -> None:
        """What was typed last is kept too, whatever closes the screen."""
        if self.unsaved and self._autosave.pending and not self.host.readonly:
            with contextlib.suppress(CaroniError):  # there is nobody left to tell
                self.drafts.save(self._draft())

    async def fetch(self) -> Around | None:
        return await self.look_around() if self.text_name else None

    def paint(self, snapshot: Around | None) -> None:
        if snapshot is None:
            return
        self.around = snapshot
        if not self._loaded:
            self._take(snapshot.newest, snapshot.newest.documents)
        self.tell()

    def _take(self, kept: Kept, documents: dict[str, str]) -> None:
        self.kept, self._loaded = kept, True
        self.show_documents(documents)
        self._checks.touch(at_once=True)
        self.ask(self._first_questions)

    async def _first_questions(self) -> None:
        if not self.fixed_because:
            await self._offer_draft()
        if self._external:
            self._external = False
            await self._edit_outside()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Somebody types."""
        event.stop()
        self.touched()

    def touched(self) -> None:
        """The text may have changed."""
        if self._loaded:
            self._checks.touch()
            self._autosave.touch()
            self.tell()

    # --- checking --------------------------------------------------------------------------------

    async def _check(self) -> None:
        documents = self.documents
        findings, more = await asyncio.to_thread(self.inspect, documents)
        self._checked, self.findings = documents, findings
        table = self.found_table
        if not table.is_attached:
            return
        with self.host.batch_update():
            self._show_findings()
            self.show_checked(more)
            self.tell()

    def _show_findings(self) -> None:
        rows = [row for n, finding in enumerate(self.findings) for row in self._rows(n, finding)]
        self.found_table.set_rows(rows)
        self.found_table.set_class(not rows, "-none")
        # the heading, and as many rows as there are and the text can spare
        self.found_table.styles.height = min(len(rows), max(4, self.size.height // 5)) + 1

    def _rows(self, number: int, finding: Finding) -> list[Line]:
        """A finding on as many lines as it needs: the remedy stands at its end."""
        mark = look("failed" if finding.severity == "error" else "warning")
        at = f"{finding.line}:{finding.column}" if finding.line else "-"
        rule = f" [{finding.rule}]" if finding.rule else ""
        room = max(self.size.width - 13, 20)
        parts = textwrap.wrap(f"{self.place(finding)}{finding.message}{rule}", room) or [""]
        first = Line((number, 0), ((mark.glyph, mark.style), at, parts[0]))
        return [first, *(Line((number, n), ("", "", part)) for n, part in enumerate(parts[1:], 1))]

    def on_resize(self) -> None:
        """Findings are broken anew."""
        if self.findings:
            self._show_findings()

    def place(self, finding: Finding) -> str:
        """The document of a finding, where there are several."""
        return f"{finding.file}: " if len(self.documents) > 1 and finding.file else ""

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        """To where it was found."""
        event.stop()
        if isinstance(event.key, tuple) and event.key[0] < len(self.findings):
            self.jump(self.findings[event.key[0]])

    @property
    def errors(self) -> int:
        """How many findings stop a save."""
        return sum(finding.severity == "error" for finding in self.findings)

    # --- state -----------------------------------------------------------------------------------

    def tell(self) -> None:
        """The line below the text."""
        if self._loaded and self.status.is_attached:
            self.status.say(f" {' · '.join(self._words())}")

    def _words(self) -> list[str]:
        words = [self._verdict(), f"revision {self.kept.revision}" if self.kept.revision else "new"]
        if self.fixed_because:
            return [*words, self.fixed_because]
        if self.around.newest.revision > self.kept.revision:
            words.append(
                f"{look('warning').glyph} revision {self.around.newest.revision} was saved meanwhile"
            )
        words.append("changed" if self.changed else "unchanged")
        if self.changed and self._draft_kept:
            words.append(f"draft {time.strftime('%H:%M:%S', time.localtime(self._drafted_at))}")
        if self.why_no_draft:
            words.append(self.why_no_draft)
        return [*words, *self.more_words()]

    def more_words(self) -> list[str]:
        """What else to tell below the text."""
        plain = self.main_editor.plain_because
        return [plain] if plain else []

    def _verdict(self) -> str:
        if self._checked is None or self._checks.pending:
            return f"{look('waiting').glyph} checking"
        warnings = len(self.findings) - self.errors
        parts = [plural(n, word) for n, word in ((self.errors, "error"), (warnings, "warning")) if n]
        if not parts:
            return f"{look('done').glyph} valid"
        return f"{look('failed' if self.errors else 'warning').glyph} {', '.join(parts)}"

    # --- drafts ----------------------------------------------------------------------------------

    async def _keep_draft(self) -> None:
        if self.fixed_because or self.host.readonly:
            return
        try:
            if self.changed:
                draft = self._draft()
                await asyncio.to_thread(self.drafts.save, draft)
                self._draft_kept, self._drafted_at = True, draft.at / 1_000_000
            elif self._draft_kept:
                await self._drop_draft()
            self.why_no_draft = ""
        except CaroniError as error:
            self.why_no_draft = str(error)
        self.tell()

    def _draft(self) -> Draft:
        site, kind, name = self.draft_key
        return draft_of(
            site, kind, name, base=self.kept.revision, documents=self.documents, before=self.kept.documents
        )

    async def _drop_draft(self) -> None:
        self._draft_kept = False
        await asyncio.to_thread(self.drafts.discard, *self.draft_key)

    async def _offer_draft(self) -> None:
        draft = await asyncio.to_thread(self.drafts.load, *self.draft_key)
        if draft is None or draft.documents == self.documents:
            return
        lines = [f"{ago(draft.at, self.host.now())} this text was edited and not saved."]
        if draft.base != self.kept.revision:
            lines.append(
                f"It began with revision {draft.base}; revision {self.kept.revision} is the newest:"
                " saving shows both."
            )
        made = await self._compare(self.kept.documents, draft.documents, "as saved", "draft")
        choices = [("y", "take", "take the draft"), ("d", "drop", "drop it")]
        answer = await self._choose("A draft is there", lines, [("the draft", made)], choices)
        if answer == "take":
            # a save is compared with what the draft began with
            self.kept = Kept(revision=draft.base, documents=draft.before)
            self.show_documents(draft.documents)
            self._draft_kept, self._drafted_at = True, draft.at / 1_000_000
            self._checks.touch(at_once=True)
        elif answer == "drop":
            await self._drop_draft()
        self.tell()

    # --- comparing and saving --------------------------------------------------------------------

    async def _choose(
        self, title: str, lines: Sequence[str], diffs: Sequence[tuple[str, Diff]], choices: Sequence[Choice]
    ) -> str:
        return await self.host.push_screen_wait(CompareScreen(title, lines, diffs, choices)) or ""

    async def _compare(
        self, before: dict[str, str], after: dict[str, str], before_name: str, after_name: str
    ) -> Diff:
        return await asyncio.to_thread(diff_documents, before, after, before_name, after_name)

    def reason(self, act: Act) -> str:
        """Nothing to save, or nothing that may be."""
        if act.id in ("editor.save", "editor.external") and self.fixed_because:
            return self.fixed_because
        return super().reason(act)

    def do_changes(self) -> None:
        """Show them."""

        async def dialogue() -> None:
            made = await self._compare(self.kept.documents, self.documents, "saved", "now")
            await self._choose(f"Changes of {self.text_name or 'a new text'}", [], [("changes", made)], [])

        self.ask(dialogue)

    def do_save(self) -> None:
        """Ask with the difference, then save."""
        self.ask(self._save)

    async def _save(self) -> None:
        if not self.changed:
            self.host.say("nothing has changed")
            return
        await self._check()
        if self.errors:
            first = next(f for f in self.findings if f.severity == "error")
            self.jump(first)
            self.host.say(f"not saved: line {first.line}: {first.message}", "error")
            return
        if not await self.ready_to_save():
            return
        documents = self.documents
        made = await self._compare(self.kept.documents, documents, self._kept_name, "now")
        lines = [f"It becomes revision {self.kept.revision + 1}.", *self.remarks()]
        if warnings := len(self.findings):
            lines.append(f"The check found {plural(warnings, 'warning')}.")
        answer = await self._choose(
            f"Save {self.KIND} {self.text_name}?", lines, [("changes", made)], [("y", "save", "save")]
        )
        if answer == "save":
            await self._save_over(documents, self.kept.revision)

    @property
    def _kept_name(self) -> str:
        return f"revision {self.kept.revision}" if self.kept.revision else "nothing"

    async def ready_to_save(self) -> bool:
        """Ask for what is missing, e.g. a name."""
        return True

    async def _save_over(self, documents: dict[str, str], expected: int) -> None:
        entry = self.host.log_of_commands.begin(self.save_line())
        try:
            saved = await self.keep(documents, expected)
        except CaroniError as error:
            entry.outcome, entry.failed = str(error), True
            raise
        entry.outcome, entry.failed = saved.answer, saved.conflict
        if saved.conflict:
            await self._conflict(documents, saved.kept)
            return
        self.kept = Kept(revision=saved.kept.revision, documents=documents)
        self.around = msgspec.structs.replace(self.around, newest=self.kept)
        await self._drop_draft()
        self.host.say(saved.answer)
        self.refetch()
        self.tell()

    async def _conflict(self, documents: dict[str, str], theirs: Kept) -> None:
        """Somebody was faster: nothing is lost, both differences are shown."""
        base = self.kept
        their_changes = await self._compare(
            base.documents, theirs.documents, self._kept_name, f"revision {theirs.revision}"
        )
        mine = await self._compare(theirs.documents, documents, f"revision {theirs.revision}", "yours")
        answer = await self._choose(
            f"Not saved: revision {theirs.revision} was saved meanwhile",
            [f"Your text began with revision {base.revision}. It is kept as a draft."],
            [("what they changed", their_changes), ("from theirs to yours", mine)],
            [
                ("o", "over", f"save yours after theirs, as revision {theirs.revision + 1}"),
                ("m", "mend", "go on with yours, to put their changes in"),
                ("t", "theirs", "take theirs"),
            ],
        )
        if answer == "over":
            self.kept = theirs
            await self._save_over(documents, theirs.revision)
        elif answer == "mend":
            # from now on the changes are against theirs, which the next save is made over
            self.kept = theirs
            self._autosave.touch()
        elif answer == "theirs":
            self.kept = theirs
            self.show_documents(theirs.documents)
            self._checks.touch(at_once=True)
            self._autosave.touch()
        self.tell()

    # --- outside, finding, leaving ---------------------------------------------------------------

    def do_external(self) -> None:
        """In ``$EDITOR``."""
        self.ask(self._edit_outside)

    async def _edit_outside(self) -> None:
        from caroni.tui.handoff import edited

        before = self.outside_text()
        after = await edited(self.app, before, self.text_name or "new", self.SUFFIX)
        if after != before:
            self.take_outside(after)
            self._checks.touch(at_once=True)
            self._autosave.touch(at_once=True)

    def outside_text(self) -> str:
        """What ``$EDITOR`` gets."""
        return self.main_editor.text

    def take_outside(self, text: str) -> None:
        """What it gave back."""
        self.main_editor.show_text(text)

    def do_check(self) -> None:
        """Check, then to the findings; from there back to the text."""
        table = self.found_table
        if table.has_focus:
            self.main_editor.focus()
            return

        async def dialogue() -> None:
            await self._check()
            if self.findings:
                table.focus()
            else:
                self.host.say(f"{look('done').glyph} nothing is wrong")

        self.ask(dialogue)

    def do_pane(self) -> None:
        """Next."""
        self.focus_next()

    def find(self, text: str, final: bool) -> None:
        self.main_editor.seek(text, here=True)

    def do_again(self) -> None:
        """The next place."""
        self.main_editor.seek(self._sought)

    def leave(self) -> bool:
        """From the findings to the text; a text with changes is asked about."""
        if self.found_table.has_focus:
            self.main_editor.focus()
            return False
        if not self.unsaved or self.host.readonly:
            return True
        self.ask(self._leave)
        return False

    async def _leave(self) -> None:
        made = await self._compare(self.kept.documents, self.documents, self._kept_name, "now")
        answer = await self._choose(
            "Leave without saving?",
            [self.unsaved],
            [("changes", made)],
            [
                ("s", "save", "save"),
                ("l", "later", "leave, keep a draft"),
                ("d", "drop", "drop the changes"),
            ],
        )
        if answer == "save":
            await self._save()
            if not self.changed:
                self.host.back()
        elif answer == "later":
            await asyncio.to_thread(self.drafts.save, self._draft())
            self.host.back()
        elif answer == "drop":
            self.kept = Kept(revision=self.kept.revision, documents=self.documents)
            await self._drop_draft()
            self.host.back()
