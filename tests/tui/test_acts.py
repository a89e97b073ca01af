"""The table of keys itself: every act can be carried out, is explained, and its key reaches a program."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

import caroni.tui
from caroni.tui.acts import Act, Acting
from caroni.tui.app import ConsoleApp
from caroni.tui.keymap import SWALLOWED
from caroni.tui.screens import PLACES
from caroni.tui.screens.base import ConsoleScreen


def subclasses(cls: type) -> Iterator[type]:
    for one in cls.__subclasses__():
        yield one
        yield from subclasses(one)


def acting() -> list[type[Acting]]:
    for module in pkgutil.walk_packages(caroni.tui.__path__, "caroni.tui."):
        import_module(module.name)
    return sorted(
        {cls for cls in subclasses(Acting) if cls.__module__.startswith("caroni.")},
        key=lambda cls: cls.__name__,
    )


def acts() -> list[tuple[type[Acting], Act]]:
    return [(cls, act) for cls in acting() for act in cls.__dict__.get("ACTS", ())]


@pytest.mark.parametrize(("cls", "act"), acts(), ids=lambda one: getattr(one, "id", ""))
def test_an_act_is_carried_out_explained_and_reaches_us(cls: type[Acting], act: Act) -> None:
    if not act.id.startswith("app.go-"):
        assert callable(getattr(cls, f"do_{act.what}"))
    assert 0 < len(act.label) <= 14
    assert not act.sentence[0].islower() or act.sentence == act.label
    for key in act.keys.split(","):
        assert key not in SWALLOWED
        assert not key.startswith(("alt+", "ctrl+shift+"))


def test_an_id_means_one_key() -> None:
    # an editor takes some of what every screen has, and shows more of it
    found: dict[str, str] = {}
    for _, act in acts():
        assert found.setdefault(act.id, act.keys) == act.keys


def test_no_screen_hides_a_key_that_works_everywhere() -> None:
    everywhere = {
        key for cls in (ConsoleApp, ConsoleScreen) for act in cls.ACTS for key in act.keys.split(",")
    }
    inner = {"n", "N", "escape", "f2", "w"}  # what a screen may use for something nearer
    for cls, act in acts():
        if issubclass(cls, ConsoleScreen) and not act.id.startswith("screen."):
            assert not (set(act.keys.split(",")) & everywhere) - inner, f"{cls.__name__}: {act.id}"


def test_a_key_means_one_thing_on_a_screen() -> None:
    for cls in acting():
        keys = [key for act in cls.__dict__.get("ACTS", ()) for key in act.keys.split(",")]
        assert len(keys) == len(set(keys)), cls.__name__


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_every_place_has_its_screen(place: object) -> None:
    from caroni.tui.screens import Place

    assert isinstance(place, Place)
    screen = place.load()
    assert issubclass(screen, ConsoleScreen)
    assert place.name == screen.NAME
