"""Plugins decide, provide and hear; one that raises or hangs costs its own call only."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from caroni.core.draft import Event
from caroni.core.messages import DeclineReason, JobFulfillmentOffer, JobFulfillmentRequest
from caroni.core.plan import SECOND
from caroni.errors import ConfigError
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import JobSpec
from caroni.execution.noop import noop_executor
from caroni.plugins.hookspecs import AgentLoad, Decline, OfferDecision, OfferView, hookimpl
from caroni.plugins.isolation import Fault
from caroni.plugins.manager import GROUP, Plugins, StagingFailed

REQUEST = JobFulfillmentRequest(request_uuid=bytes(16), job_type_name="x")
DEFINITION = JobDefinition(name="x", script=":")
LOAD = AgentLoad(slots=4)
OFFER = JobFulfillmentOffer(request_uuid=bytes(16), offer_uuid=bytes(16))
VIEW = OfferView(agent="caroni://a/agent/b", offer=OFFER)
JOB = JobSpec(manager="m", job_uuid=bytes(16), request_uuid=bytes(16), definition=DEFINITION)


def plugin(**hooks: Callable[..., object]) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_without_plugins_nobody_is_asked() -> None:
    plugins = Plugins()
    assert not any(plugins.asks(h) for h in ("decide_offer", "rank_offer", "stage_in", "on_event"))
    assert plugins.decide_offer_now(REQUEST, DEFINITION, LOAD) is None
    assert plugins.rank_offer_now(REQUEST, VIEW) is None
    assert await plugins.decide_offer(REQUEST, DEFINITION, LOAD) is None
    assert await plugins.stage_in(JOB, "f", '"v"', Path("/nowhere")) == '"v"'
    plugins.notify(Event(kind="x", fields={}))
    assert set(plugins.executors()) == {"local", "noop"}
    assert plugins.names == ["builtin"]


async def test_decisions_of_trusted_and_other_plugins() -> None:
    plugins = Plugins()
    plugins.register(plugin(decide_offer=lambda load: OfferDecision(ttl=load.slots)), "own", trusted=True)
    plugins.register(plugin(rank_offer=lambda view: 1), "own2", trusted=True)
    assert not plugins.asks("decide_offer")
    assert plugins.decide_offer_now(REQUEST, DEFINITION, LOAD) == OfferDecision(ttl=4)
    assert plugins.rank_offer_now(REQUEST, VIEW) == 1
    threads = []

    def decide(request: JobFulfillmentRequest) -> Decline | None:
        threads.append(threading.current_thread())
        if request.max_runtime > 5:
            return Decline(reason=DeclineReason.SCHEDULE, message="too long")
        return None

    plugins.register(plugin(decide_offer=decide, rank_offer=lambda request, view: 7), "other")
    assert plugins.asks("decide_offer")
    assert await plugins.decide_offer(REQUEST, DEFINITION, LOAD) == OfferDecision(ttl=4)
    long = JobFulfillmentRequest(request_uuid=bytes(16), job_type_name="x", max_runtime=6)
    declined = await plugins.decide_offer(long, DEFINITION, LOAD)
    assert isinstance(declined, Decline)
    assert declined.message == "too long"
    assert await plugins.rank_offer(REQUEST, VIEW) == 7.0
    assert threading.main_thread() not in threads
    assert plugins.hooks_of("other") == ["decide_offer", "rank_offer"]
    plugins.close()


async def test_a_plugin_that_raises_is_set_aside_after_a_while() -> None:
    faults: list[Fault] = []
    plugins = Plugins(on_fault=faults.append, cool_down=SECOND // 5)
    asked = []

    def decide() -> None:
        asked.append(1)
        raise SystemExit("enough") if len(asked) == 2 else ValueError("no idea")

    plugins.register(plugin(decide_offer=decide), "broken")
    plugins.register(plugin(decide_offer=lambda: OfferDecision(ttl=1)), "own", trusted=True)
    for _ in range(8):
        assert await plugins.decide_offer(REQUEST, DEFINITION, LOAD) == OfferDecision(ttl=1)
    assert len(asked) == 5
    assert faults[0] == Fault(plugin="broken", hook="decide_offer", text="ValueError: no idea")
    assert "SystemExit" in faults[1].text
    assert faults[-1].disabled_for == SECOND // 5
    isolated = plugins._isolated["broken", "decide_offer"]
    await until(lambda: isolated.enabled)
    await plugins.decide_offer(REQUEST, DEFINITION, LOAD)
    assert len(asked) == 6
    plugins.close()


async def test_a_plugin_that_hangs_is_left_alone() -> None:
    faults: list[Fault] = []
    plugins = Plugins(on_fault=faults.append, limit=SECOND // 20, cool_down=SECOND // 20)
    release = threading.Event()
    plugins.register(plugin(decide_offer=lambda: release.wait(30)), "stuck")
    before = time.monotonic()
    isolated = plugins._isolated["stuck", "decide_offer"]
    for _ in range(3):
        await until(lambda: isolated.enabled)
        assert await plugins.decide_offer(REQUEST, DEFINITION, LOAD) is None
    assert time.monotonic() - before < 5
    assert [f.disabled_for for f in faults] == [SECOND // 20, SECOND // 20, -1]
    assert "took longer than 0.05 s" in faults[0].text
    assert not isolated.enabled  # for good: the number of stuck threads is bounded
    release.set()
    plugins.close()


async def test_answers_of_the_wrong_kind_are_no_answers() -> None:
    faults: list[Fault] = []
    plugins = Plugins(on_fault=faults.append)
    plugins.register(plugin(decide_offer=lambda: True, rank_offer=lambda: "best"), "odd")
    assert await plugins.decide_offer(REQUEST, DEFINITION, LOAD) is None
    assert await plugins.rank_offer(REQUEST, VIEW) is None
    assert [f.text for f in faults] == [
        "gave a bool instead of OfferDecision or Decline",
        "gave a str instead of float or int",
    ]
    plugins.close()


async def test_staging_replaces_values_and_reports_failures() -> None:
    plugins = Plugins()

    def stage_in(name: str, value: str, directory: Path) -> str | None:
        if name == "bad":
            raise OSError("the store is away")
        return f'"{directory}/{name}"' if name == "f" else None

    plugins.register(plugin(stage_in=stage_in, stage_out=lambda value: value.upper()), "mover")
    assert await plugins.stage_in(JOB, "f", '"x"', Path("/w")) == '"/w/f"'
    assert await plugins.stage_in(JOB, "g", '"x"', Path("/w")) == '"x"'
    assert await plugins.stage_out(JOB, "g", '"x"', Path("/w")) == '"X"'
    with pytest.raises(StagingFailed, match="mover: stage_in: OSError: the store is away"):
        await plugins.stage_in(JOB, "bad", '"x"', Path("/w"))
    plugins.close()


async def test_events_reach_all_and_wait_for_nobody() -> None:
    faults: list[Fault] = []
    plugins = Plugins(on_fault=faults.append)
    heard: list[str] = []
    gate = threading.Event()

    def slow(event: Event) -> None:
        gate.wait(30)
        heard.append(event.kind)

    plugins.register(plugin(on_event=slow), "slow")
    plugins.register(plugin(on_event=lambda event: heard.append(event.kind.upper())), "fast")
    plugins.register(plugin(on_event=lambda event: 1 / 0), "broken")
    for number in range(2000):  # more than the slow one may have waiting
        plugins.notify(Event(kind=f"k{number}", fields={}))
    gate.set()
    await until(lambda: "K999" in heard and "k999" in heard)
    assert "ZeroDivisionError" in faults[0].text
    plugins.close()


def test_executors_of_plugins() -> None:
    plugins = Plugins()
    plugins.register(plugin(caroni_executors=lambda: {"mine": noop_executor}), "more")
    assert set(plugins.executors()) == {"local", "noop", "mine"}
    plugins.register(plugin(caroni_executors=lambda: {"noop": noop_executor}), "twice")
    with pytest.raises(ConfigError, match="both have an executor 'noop'"):
        plugins.executors()
    broken = Plugins()
    broken.register(plugin(caroni_executors=lambda: 1 / 0), "broken")
    with pytest.raises(ConfigError, match="'broken' gives no executors: ZeroDivisionError"):
        broken.executors()


def test_plugins_that_do_not_fit() -> None:
    plugins = Plugins()
    with pytest.raises(ConfigError, match="'odd' does not fit"):
        plugins.register(plugin(decide_offer=lambda unknown: None), "odd")
    with pytest.raises(ConfigError, match="there twice"):
        plugins.register(plugin(), "builtin")


def test_installed_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real distribution on the path, found by its entry point."""
    (tmp_path / "ranking_plugin.py").write_text(
        "from caroni.plugins.hookspecs import hookimpl\n\n@hookimpl\ndef rank_offer(view):\n    return 2.0\n"
    )
    information = tmp_path / "ranking-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ranking\nVersion: 1.0\n")
    points = information / "entry_points.txt"
    points.write_text(f"[{GROUP}]\nranking = ranking_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins = Plugins.load()
    assert plugins.names == ["builtin", "ranking"]
    assert asyncio.run(plugins.rank_offer(REQUEST, VIEW)) == 2.0
    plugins.close()
    assert Plugins.load(disabled=["ranking"]).names == ["builtin"]
    points.write_text(f"[{GROUP}]\nranking = no_such_module\n")
    with pytest.raises(ConfigError, match=r"'ranking' \(no_such_module\) cannot be loaded: ModuleNotFound"):
        Plugins.load()
    sys.modules.pop("ranking_plugin", None)
