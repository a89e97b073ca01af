"""The rail of a workflow: one row a step with its lanes, live. Only rows that are seen are drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from caroni.services.words import plural
from caroni.tui import glyphs
from caroni.tui.acts import Act, Acting
from caroni.tui.paint import BOLD, CURSOR, DIM, PLAIN, blank, over, seg, strip
from caroni.tui.rail import drawing as drawings
from caroni.tui.rail.drawing import Drawing
from caroni.tui.rail.gutter import ASCII, UNICODE, Heavy, cells_wide, gutter, heavy_of
from caroni.tui.rail.paths import critical, reached, weights
from caroni.tui.rail.steps import Steps, StepView
from caroni.tui.widgets.railrow import Columns, group_cells, heading, step_cells

#: a picture of more nodes than this is made in a thread, so that no key waits for it
_LARGE = 1500
#: seconds between looks at which chain takes longest
_CRITICAL_EVERY = 5
_FOUND = Style(underline=True, bold=True)


class Rail(Acting, ScrollView, can_focus=True):
    """Rows with lanes, a cursor, folds, the neighbourhood of a step, and failed steps alone.

    Messages: :class:`Moved` when the cursor comes to another row, :class:`Opened` on enter on a step,
    :class:`Viewed` when other rows are shown.
    """

    DEFAULT_CSS = "Rail { width: 1fr; height: 1fr; overflow-x: hidden; }"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("rail.open", "enter", "open", "Open the step; unfold the group"),
        Act("rail.failed", "f", "failed", "Failed steps only, or all again"),
        Act("rail.near", "v", "near", "What is at most two steps away, or all again"),
        Act("rail.fold", "z", "fold", "Fold the step's group to one row, or unfold it", show=False),
        Act("rail.fold-all", "Z", "fold all", "Fold all groups, or unfold all", show=False),
        Act("rail.down", "j,down", "down", "One row down", show=False),
        Act("rail.up", "k,up", "up", "One row up", show=False),
        Act("rail.top", "g,home", "top", "The first row", show=False),
        Act("rail.bottom", "G,end", "bottom", "The last row", show=False),
        Act("rail.page-down", "pagedown,ctrl+f", "page down", "A page down", show=False),
        Act("rail.page-up", "pageup,ctrl+b", "page up", "A page up", show=False),
        Act("rail.needs", "left", "needs", "To the last step that this one waits for", show=False),
        Act("rail.feeds", "right", "feeds", "To the first step that waits for this one", show=False),
        Act("rail.lanes-right", "shift+right", "lanes right", "See lanes further right", show=False),
        Act("rail.lanes-left", "shift+left", "lanes left", "See lanes further left", show=False),
    )

    class Moved(Message):
        """The cursor is on another step, or on a folded group (``members``); no members: no rows."""

        def __init__(self, rail: Rail, members: tuple[int, ...]) -> None:
            super().__init__()
            self.rail = rail
            self.members = members

        @property
        def step(self) -> int:
            """The step under the cursor; -1 on a group or on nothing."""
            return self.members[0] if len(self.members) == 1 else -1

        @property
        def control(self) -> Rail:
            """The rail."""
            return self.rail

    class Opened(Message):
        """A step was opened."""

        def __init__(self, rail: Rail, step: int) -> None:
            super().__init__()
            self.rail = rail
            self.step = step

        @property
        def control(self) -> Rail:
            """The rail."""
            return self.rail

    class Viewed(Message):
        """Other rows are shown; ``rail.caption`` says which."""

        def __init__(self, rail: Rail) -> None:
            super().__init__()
            self.rail = rail

        @property
        def control(self) -> Rail:
            """The rail."""
            return self.rail

    def __init__(self, *, empty: str = "", id: str | None = None, classes: str | None = None) -> None:
        """Without rows ``empty`` is shown: a sentence, and the key that helps."""
        super().__init__(id=id, classes=classes)
        self.empty = empty
        self.first_lane = 0
        self._whole: Drawing | None = None
        self._shown: Drawing | None = None
        self._steps = Steps(0, ())
        self._row = 0
        self._now = 0
        self._heavy: Heavy | None = None
        self._critical: frozenset[int] = frozenset()
        self._critical_at = 0
        self._changed = False
        self._sought = ""
        self._longest = 0

    # --- what is shown ---------------------------------------------------------------------------

    def set_view(self, drawing: Drawing, *, keep: bool = True) -> None:
        """Show a graph (:func:`caroni.tui.rail.drawing.of_plan`).

        Args:
            drawing: all of it.
            keep: the same steps as before, e.g. after an edit: what is known of them and the cursor stay.
        """
        count, groups = len(drawing.view.graph.names), drawing.view.groups
        before = {
            step.index: step
            for step in self._steps.by_index
            if keep and step is not None and step.index < count
        }  # fmt: skip
        self._steps = Steps(count, groups)
        self._steps.update(before)
        self._whole = drawing
        self._critical, self._changed = frozenset(), True
        self._show(drawing, cursor=self.members if keep else ())

    def set_steps(self, steps: Mapping[int, StepView]) -> None:
        """Take steps by index, those that changed or all; only their rows that are seen are painted."""
        changed = self._steps.update(steps)
        if not changed or self._shown is None:
            return
        self._changed = True
        if self._shown.kind == "failed" and self._steps.failed != set(self._all_steps()):
            self._show_failed()
            return
        top, height = self._seen()
        bottom, row_of = top + height, self._shown.row_of
        rows = {row for index in changed if top <= (row := row_of(index)) < bottom}
        if len(rows) * 2 > height:
            self.refresh()
        else:
            self._refresh_rows(rows)

    def set_now(self, now: int) -> None:
        """Let times go on until ``now`` (wall microseconds): rows that run and are seen are painted."""
        self._now = now
        if self._shown is None:
            return
        top, height = self._seen()
        nodes, order, steps = self._shown.view.nodes, self._shown.layout.order, self._steps.by_index
        running = []
        for row in range(top, min(top + height, self._shown.rows)):
            node = nodes[order[row]]
            step = None if node.folded else steps[node.members[0]]
            if step is not None and step.started_at and not step.ended_at:
                running.append(row)
        self._refresh_rows(running)
        if self._changed and now - self._critical_at >= _CRITICAL_EVERY * 1_000_000:
            self._find_critical()

    @property
    def steps(self) -> Steps:
        """What is known of all steps, shown or not; only to look at."""
        return self._steps

    @property
    def group(self) -> str:
        """The label of the folded group under the cursor; empty on a step."""
        shown = self._shown
        if shown is None or not shown.rows:
            return ""
        node = shown.view.nodes[shown.layout.order[self._row]]
        return shown.view.groups[node.group].label if node.folded else ""

    @property
    def members(self) -> tuple[int, ...]:
        """The steps of the row under the cursor."""
        if self._shown is None or not self._shown.rows:
            return ()
        return self._shown.view.nodes[self._shown.layout.order[self._row]].members

    @property
    def step(self) -> int:
        """The step under the cursor; -1 on a group or on nothing."""
        return self.members[0] if len(self.members) == 1 else -1

    @property
    def kind(self) -> str:
        """What is shown: ``all``, ``near`` or ``failed``."""
        return self._shown.kind if self._shown is not None else "all"

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._shown.rows if self._shown is not None else 0

    @property
    def caption(self) -> str:
        """What is shown, in a few words."""
        if self._shown is None or self._whole is None:
            return ""
        total = len(self._whole.view.graph.names)
        if self._shown.kind == "failed":
            return f"{self._shown.rows} failed of {plural(total, 'step')}"
        if self._shown.kind == "near":
            return f"{plural(self._shown.rows, 'row')} around one of {plural(total, 'step')}"
        folded = sum(node.folded for node in self._shown.view.nodes)
        return plural(total, "step") + (f", {plural(folded, 'group')} folded" if folded else "")

    def select(self, step: int) -> bool:
        """Put the cursor on a step, or on its folded group; False if it is not shown."""
        row = self._shown.row_of(step) if self._shown is not None else -1
        if row >= 0:
            self._go(row)
        return row >= 0

    def select_first(self, *states: str) -> bool:
        """Put the cursor on the first row in the first of these states that any row has."""
        shown = self._shown
        if shown is None:
            return False
        rows = [self._steps.state_of(shown.view.nodes[node]) for node in shown.layout.order]
        state = next((state for state in states if state in rows), None)
        if state is not None:
            self._go(rows.index(state))
        return state is not None

    def _show(self, drawing: Drawing, *, cursor: Collection[int]) -> None:
        self._shown = drawing
        view = drawing.view
        self._longest = max(
            [len(view.groups[node.group].label if node.folded else node.label) for node in view.nodes],
            default=0,
        )
        row = next((found for step in cursor if (found := drawing.row_of(step)) >= 0), 0)
        self.first_lane = 0
        self._row = row
        self.virtual_size = Size(self.size.width, drawing.rows + 1)
        self._aim()
        self._find_critical()
        self._follow()
        self.refresh()
        self.post_message(self.Viewed(self))
        self.post_message(self.Moved(self, self.members))

    def _all_steps(self) -> list[int]:
        return [step for node in self._shown.view.nodes for step in node.members] if self._shown else []

    def _show_failed(self) -> None:
        if self._whole is not None:
            self._show(drawings.failed(self._whole, self._steps.failed), cursor=self.members)

    def _aim(self) -> None:
        """What the cursor's row waits for, and what waits for it, becomes heavy."""
        shown = self._shown
        if shown is None or not shown.rows:
            self._heavy = None
            return
        view, layout = shown.view, shown.layout
        node = layout.order[self._row]
        above, below = reached(view.parents, node), reached(view.children, node)
        self._heavy = heavy_of(layout, view.children, node, above, below)

    def _find_critical(self) -> None:
        shown = self._shown
        self._critical_at, self._changed = self._now, False
        if shown is None:
            return
        of_steps = weights(self._steps.spans(self._now))
        of_nodes = [max([of_steps[step] for step in node.members]) for node in shown.view.nodes]
        found = frozenset(critical(shown.layout.order, shown.view.parents, of_nodes))
        if found != self._critical:
            self._critical = found
            self.refresh()

    # --- cursor and scrolling --------------------------------------------------------------------

    def _seen(self) -> tuple[int, int]:
        """The first row that is seen, and how many there is room for."""
        return int(self.scroll_offset.y), max(self.size.height - 1, 1)  # the heading stays

    def _refresh_rows(self, rows: Collection[int]) -> None:
        top, _ = self._seen()
        width = self.size.width
        if rows:
            self.refresh(*(Region(0, row - top + 1, width, 1) for row in rows))

    def _go(self, row: int) -> None:
        row = min(max(row, 0), max(self.rows - 1, 0))
        if row != self._row:
            self._row = row
            self._aim()
            self.post_message(self.Moved(self, self.members))
        self._follow()
        self.refresh()

    def _follow(self) -> None:
        top, height = self._seen()
        if self._row < top:
            top = self._row
        elif self._row >= top + height:
            top = self._row - height + 1
        self.scroll_to(y=max(min(top, max(self.rows - height, 0)), 0), animate=False, force=True)

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(self.size.width, self.rows + 1)
        self._follow()

    def on_focus(self) -> None:
        """The cursor looks different."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor looks different."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where it was clicked; a second click opens."""
        row = event.y - 1 + int(self.scroll_offset.y)
        if event.y and row < self.rows:
            self._go(row)
            if event.chain == 2:
                self.run_worker(self.action_act("rail.open"))

    # --- painting --------------------------------------------------------------------------------

    def _columns(self) -> Columns:
        wide = cells_wide(self._shown.layout) if self._shown is not None else 0
        return Columns.at(self.size.width, lanes=wide, longest=self._longest)

    def render_line(self, y: int) -> Strip:
        """The heading, or a row."""
        width, shown = self.size.width, self._shown
        if shown is None or not shown.rows:
            if y == 2 and self.empty:
                return strip([seg(f"  {self._nothing()}", DIM)], width, self.rich_style)
            return blank(width, self.rich_style)
        columns = self._columns()
        if y == 0:
            return strip(heading(columns), width, self.rich_style)
        row = y - 1 + int(self.scroll_offset.y)
        if row >= shown.rows:
            return blank(width, self.rich_style)
        painted = strip(self._row_segments(shown, row, columns), width, self.rich_style)
        if row == self._row:
            return over(painted, CURSOR if self.has_focus else BOLD)
        return painted

    def _nothing(self) -> str:
        return "No step has failed: f shows all again." if self.kind == "failed" else self.empty

    def _row_segments(self, shown: Drawing, row: int, columns: Columns) -> list[Segment]:
        node_at = shown.layout.order[row]
        node = shown.view.nodes[node_at]
        state = self._steps.state_of(node)
        mark = glyphs.mark("step", state) if state else None
        glyph = mark.glyph if mark is not None else ("o" if glyphs.ascii_only() else "●")
        text, place = gutter(
            shown.layout,
            row,
            glyph,
            width=columns.gutter,
            first=self.first_lane,
            cells=ASCII if glyphs.ascii_only() else UNICODE,
            heavy=self._heavy,
        )
        if place >= 0:
            style = mark.style if mark is not None else PLAIN
            segments = [
                Segment(text[:place], PLAIN),
                Segment(glyph, style),
                Segment(text[place + 1 :], PLAIN),
            ]
        else:
            segments = [Segment(text, PLAIN)]
        segments.append(Segment(" *" if node_at in self._critical else "  ", BOLD))
        found = _FOUND if self._sought and self._matches(row) else PLAIN
        if node.folded:
            group = shown.view.groups[node.group]
            counts = self._steps.counts[node.group]
            return segments + group_cells(columns, group.label, len(node.members), counts, state, found)
        step = self._steps.by_index[node.members[0]]
        return segments + step_cells(columns, node.label, step, self._now, found)

    # --- finding ---------------------------------------------------------------------------------

    def find(self, text: str) -> int:
        """Mark the rows whose steps have ``text`` in their names, go to the first; gives how many."""
        self._sought = text.casefold()
        hits = self._hits()
        if hits:
            self._go(next((row for row in hits if row >= self._row), hits[0]))
        self.refresh()
        return len(hits)

    def find_next(self, direction: int) -> None:
        """The next (1) or previous (-1) row that was found, round the end."""
        hits = self._hits()
        if not hits:
            return
        if direction > 0:
            self._go(next((row for row in hits if row > self._row), hits[0]))
        else:
            self._go(next((row for row in reversed(hits) if row < self._row), hits[-1]))

    def _hits(self) -> list[int]:
        return [row for row in range(self.rows) if self._matches(row)] if self._sought else []

    def _matches(self, row: int) -> bool:
        shown = self._shown
        if shown is None:
            return False
        node, names = shown.view.nodes[shown.layout.order[row]], shown.view.graph.names
        return any(self._sought in names[step].casefold() for step in node.members)

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """Why a key has nothing to do here."""
        if act.id in ("rail.open", "rail.near") and not self.rows:
            return "there is no row"
        if act.id == "rail.fold" and self._group_here() < 0:
            return "this step belongs to no group"
        if act.id in ("rail.fold", "rail.fold-all") and self.kind != "all":
            return "only where all steps are shown: esc"
        if act.id == "rail.fold-all" and not (self._whole and self._whole.view.groups):
            return "there are no groups"
        if act.id == "rail.failed" and self.kind != "failed" and not self._steps.failed:
            return "no step has failed"
        return ""

    def _group_here(self) -> int:
        if self._whole is None or not self.members:
            return -1
        return self._whole.view.group_of[self.members[0]]

    async def do_open(self) -> None:
        """Unfold a group, open a step."""
        if len(self.members) > 1 and self.kind == "all":
            await self.do_fold()
        elif self.members:
            self.post_message(self.Opened(self, self.members[0]))

    async def do_fold(self) -> None:
        """The cursor's group."""
        if self._whole is not None:
            await self._fold(self._whole.view.opened ^ {self._group_here()})

    async def do_fold_all(self) -> None:
        """All groups."""
        if self._whole is not None:
            everything = frozenset(range(len(self._whole.view.groups)))
            await self._fold(frozenset() if self._whole.view.opened else everything)

    async def _fold(self, opened: frozenset[int]) -> None:
        whole = self._whole
        if whole is None:
            return
        view, cursor = whole.view, self.members
        new = await self._made(lambda: drawings.of_graph(view.graph, view.groups, opened))
        if self._whole is whole:  # nothing else came meanwhile
            self._whole = new
            self._show(new, cursor=cursor)

    async def _made(self, make: Callable[[], Drawing]) -> Drawing:
        large = self._whole is not None and len(self._whole.view.graph.names) > _LARGE
        return await asyncio.to_thread(make) if large else make()

    def do_near(self) -> None:
        """The neighbourhood of the cursor's step, or everything."""
        if self._whole is None or not self.members:
            return
        if self.kind == "near":
            self.show_all()
        else:
            self._show(drawings.near(self._whole, self.members[0]), cursor=self.members)

    def do_failed(self) -> None:
        """Failed steps, or everything."""
        if self.kind == "failed":
            self.show_all()
        else:
            self._show_failed()

    def show_all(self) -> bool:
        """All rows again; False if they are shown already."""
        if self._whole is None or self.kind == "all":
            return False
        self._show(self._whole, cursor=self.members)
        return True

    def do_needs(self) -> None:
        """To a parent."""
        self._jump(above=True)

    def do_feeds(self) -> None:
        """To a child."""
        self._jump(above=False)

    def _jump(self, *, above: bool) -> None:
        shown = self._shown
        if shown is None or not shown.rows:
            return
        edges = shown.view.parents if above else shown.view.children
        rows = [shown.layout.row_of[node] for node in edges[shown.layout.order[self._row]]]
        if rows:
            self._go(max(rows) if above else min(rows))

    def do_lanes_right(self) -> None:
        """Four lanes further right."""
        self._shift(4)

    def do_lanes_left(self) -> None:
        """Four lanes further left."""
        self._shift(-4)

    def _shift(self, lanes: int) -> None:
        if self._shown is None:
            return
        most = max(self._shown.layout.width - self._columns().gutter // 2, 0)
        self.first_lane = min(max(self.first_lane + lanes, 0), most)
        self.refresh()

    def do_down(self) -> None:
        """Down."""
        self._go(self._row + 1)

    def do_up(self) -> None:
        """Up."""
        self._go(self._row - 1)

    def do_top(self) -> None:
        """First."""
        self._go(0)

    def do_bottom(self) -> None:
        """Last."""
        self._go(self.rows - 1)

    def do_page_down(self) -> None:
        """Down by what is seen."""
        self._go(self._row + max(self.size.height - 2, 1))

    def do_page_up(self) -> None:
        """Up by what is seen."""
        self._go(self._row - max(self.size.height - 2, 1))
