"""The screens; :data:`PLACES` names those that can be gone to. A module is imported when it is shown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

import msgspec

if TYPE_CHECKING:
    from caroni.tui.screens.base import ConsoleScreen

MANAGER = frozenset({"manager"})
AGENT = frozenset({"agent"})
ANY = MANAGER | AGENT


class Place(msgspec.Struct, frozen=True):
    """A screen that can be gone to: by digit, by ``:name`` or alias, and from the palette."""

    name: str
    key: str
    about: str
    roles: frozenset[str]
    module: str
    screen: str
    aliases: tuple[str, ...] = ()

    def load(self) -> type[ConsoleScreen]:
        """The class of the screen."""
        return cast("type[ConsoleScreen]", getattr(import_module(self.module), self.screen))


def _place(
    name: str, key: str, about: str, roles: frozenset[str], where: str, screen: str, *aliases: str
) -> Place:
    return Place(name, key, about, roles, f"caroni.tui.screens.{where}", screen, aliases)


PLACES: tuple[Place, ...] = (
    _place("workflows", "1", "Workflows, their progress", MANAGER, "workflows", "WorkflowsScreen", "wf", "w"),
    _place("jobs", "2", "An agent's queue, a manager's attempts", ANY, "jobs", "JobsScreen", "j"),
    _place("trace", "3", "Messages between managers and agents", ANY, "trace", "TraceScreen", "messages"),
    _place("peers", "4", "Who is here, who is silent", ANY, "peers", "PeersScreen", "p", "agents"),
    _place("certs", "5", "Certificates and trust", ANY, "certs", "CertsScreen", "trust"),
    _place("templates", "6", "Workflow templates", MANAGER, "templates", "TemplatesScreen", "tpl"),
    _place("jobdefs", "7", "Job definitions", AGENT, "jobdefs", "JobDefsScreen", "definitions", "jd"),
    _place("quarantine", "8", "Messages that were set aside", ANY, "quarantine", "QuarantineScreen", "q"),
    _place("health", "9", "Broker, database, disk, clock", ANY, "health", "HealthScreen", "doctor"),
)  # fmt: skip


def find_place(word: str) -> Place | None:
    """The screen that a name, an alias, a digit or an unambiguous beginning means."""
    word = word.strip().lower().lstrip(":")
    for place in PLACES:
        if word in (place.name, place.key, *place.aliases):
            return place
    begun = [place for place in PLACES if word and place.name.startswith(word)]
    return begun[0] if len(begun) == 1 else None
