"""What the operator can do, spelled once: bindings, footer, help, palette and keymap are made of it.

A screen or widget lists its ``ACTS``. The act ``jobs.kill`` is carried out by its method ``do_kill``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
from textual.binding import Binding

if TYPE_CHECKING:
    from caroni.tui.app import ConsoleApp


class Act(msgspec.Struct, frozen=True):
    """Something that a key does.

    Args:
        id: ``where.what``; the keymap file names it, and ``do_what`` carries it out.
        keys: Textual's names of keys, comma-separated.
        label: a word or two, for the footer.
        help: a sentence, for help and palette; the label if empty.
        writes: it changes something outside of this console, so a read-only one refuses it.
        show: the footer has it where there is room.
        priority: it works wherever the focus is, also in editors.
    """

    id: str
    keys: str
    label: str
    help: str = ""
    writes: bool = False
    show: bool = True
    priority: bool = False

    @property
    def what(self) -> str:
        """The part of the id that names the method."""
        return self.id.rpartition(".")[2].replace("-", "_")

    @property
    def sentence(self) -> str:
        """What help says of it."""
        return self.help or self.label

    def binding(self) -> Binding:
        """The key binding."""
        return Binding(
            self.keys,
            f"act('{self.id}')",
            self.label,
            show=self.show,
            id=self.id,
            tooltip=self.sentence,
            priority=self.priority,
        )


#: seconds that keys typed before have
_PATIENCE = 1.0

#: Every act of every class that was imported, by id.
REGISTRY: dict[str, Act] = {}


def every() -> list[Act]:
    """Every act of the console, by id."""
    import caroni.tui

    for module in pkgutil.walk_packages(caroni.tui.__path__, "caroni.tui."):
        import_module(module.name)
    return sorted(REGISTRY.values(), key=lambda act: act.id)


if TYPE_CHECKING:
    from textual.dom import DOMNode as _Node
else:
    # Textual takes the styles of a class from its first base that is a node: it must not be this one
    _Node = object


class Acting(_Node):
    """A screen, widget or app whose keys are :class:`Act` values."""

    ACTS: ClassVar[tuple[Act, ...]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        if "ACTS" in cls.__dict__:
            cls.BINDINGS = [act.binding() for act in cls.__dict__["ACTS"]]
            REGISTRY.update((act.id, act) for act in cls.__dict__["ACTS"])
        super().__init_subclass__(**kwargs)  # type: ignore[arg-type]

    @property
    def host(self) -> ConsoleApp:
        """The app, with its own type."""
        return cast("ConsoleApp", self.app)

    def reason(self, act: Act) -> str:
        """Why this act cannot be done now; empty if it can."""
        del act
        return ""

    def refusal(self, act: Act) -> str:
        """Why an act is refused: this console only looks, or what :meth:`reason` says."""
        if act.writes and self.host.readonly:
            return "this console only looks (--readonly)"
        return self.reason(act)

    async def _caught_up(self) -> None:
        """Wait until the focused widget has taken what was typed before.

        Textual looks for keys with priority before it hands keys on, so they overtake those that still wait.
        """
        focused = self.host.focused
        if focused is None:
            return
        taken = asyncio.Event()
        focused.call_later(taken.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await taken.wait()

    async def action_act(self, id: str) -> None:
        """Carry an act out, or say why it cannot be."""
        act = REGISTRY[id]
        if refusal := self.refusal(act):
            self.host.say(f"{act.label}: {refusal}", "warning")
            return
        if act.priority:
            await self._caught_up()
        done = getattr(self, f"do_{act.what}")()
        if inspect.isawaitable(done):
            await done
