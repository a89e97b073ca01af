"""The plugins of one daemon: found, registered, called.

Two kinds of calls. Built-in implementations are trusted and called directly, also within a unit of work.
All others run isolated (:mod:`caroni.plugins.isolation`), and their answers are awaited *before* the unit
of work they are for. ``asks`` tells in no time whether there is anybody else to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pluggy

from caroni.core.draft import Event
from caroni.core.messages import JobFulfillmentRequest, Json
from caroni.core.plan import HOUR, SECOND
from caroni.errors import ConfigError
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import ExecutorFactory, JobSpec
from caroni.plugins import builtin
from caroni.plugins.hookspecs import PROJECT, AgentLoad, CaroniHooks, Decline, OfferDecision, OfferView
from caroni.plugins.isolation import Fault, IsolatedPlugin, PluginUnavailable

GROUP = "caroni.plugins"
HOOKS = ("decide_offer", "rank_offer", "caroni_executors", "stage_in", "stage_out", "on_event")
#: staging moves data: it gets more time than a decision (microseconds)
STAGING_LIMIT = HOUR


class StagingFailed(Exception):
    """A plugin could not move the data of an input or output; the text is for people."""


class Plugins:
    """All plugins of a daemon.

    Args:
        limit: microseconds that a plugin's decision may take.
        cool_down: microseconds for which a misbehaving plugin is set aside.
        on_fault: told of every misbehaviour, on the event loop.
    """

    def __init__(
        self,
        *,
        limit: int = 2 * SECOND,
        cool_down: int = 60 * SECOND,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(CaroniHooks)
        self._limit, self._cool_down = limit, cool_down
        self._on_fault = on_fault or (lambda fault: None)
        self._trusted: set[str] = set()
        self._isolated: dict[tuple[str, str], IsolatedPlugin] = {}
        #: per hook, in the order of calls: built-in functions; (plugin, function) of the others
        self._inner: dict[str, list[Callable[..., Any]]] = {hook: [] for hook in HOOKS}
        self._outer: dict[str, list[tuple[IsolatedPlugin, Callable[..., Any]]]] = {h: [] for h in HOOKS}
        self.register(builtin, "builtin", trusted=True)

    @classmethod
    def load(cls, disabled: Iterable[str] = (), **options: Any) -> Plugins:
        """With every plugin that is installed, except those named in ``disabled``.

        Raises:
            ConfigError: an installed plugin cannot be loaded; the text says how to go on without it.
        """
        plugins = cls(**options)
        without = set(disabled)
        for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
            if point.name not in without:
                plugins.register(_import(point), point.name)
        return plugins

    def register(self, plugin: ModuleType | object, name: str, *, trusted: bool = False) -> None:
        """Add a plugin. ``trusted`` ones are part of the daemon: called directly, without limits.

        Raises:
            ConfigError: the name is taken, or a hook does not fit its specification.
        """
        if self._manager.has_plugin(name):
            raise ConfigError(f"plugin {name!r} is there twice; disable one of them")
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            text = str(error).splitlines()[-1].strip()
            raise ConfigError(f"plugin {name!r} does not fit: {text}; fix or disable it") from None
        if trusted:
            self._trusted.add(name)
        else:
            # a thread a hook: data that is being staged must not keep decisions waiting
            for hook in self.hooks_of(name):
                self._isolated[name, hook] = IsolatedPlugin(
                    name, self._on_fault, limit=self._limit, cool_down=self._cool_down
                )
        self._arrange()

    def _arrange(self) -> None:
        """Work out who is called for each hook, so that a call looks nothing up."""
        for hook in HOOKS:
            inner, outer = self._inner[hook], self._outer[hook]
            inner.clear()
            outer.clear()
            # pluggy keeps them in reverse order of calls
            for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
                function = _by_name(implementation)
                if implementation.plugin_name in self._trusted:
                    inner.append(function)
                else:
                    outer.append((self._isolated[implementation.plugin_name, hook], function))

    @property
    def names(self) -> list[str]:
        """The registered plugins, by name."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def hooks_of(self, name: str) -> list[str]:
        """The hooks that a plugin implements."""
        return [
            hook
            for hook in HOOKS
            if any(i.plugin_name == name for i in getattr(self._manager.hook, hook).get_hookimpls())
        ]

    def asks(self, hook: str) -> bool:
        """Whether a plugin that is not built in implements ``hook``: only then is there to await."""
        return bool(self._outer[hook])

    # --- within a unit of work -------------------------------------------------------------------

    def decide_offer_now(
        self, request: JobFulfillmentRequest, definition: JobDefinition, load: AgentLoad
    ) -> OfferDecision | Decline | None:
        """What the built-in implementations say."""
        for function in self._inner["decide_offer"]:
            result = function(request=request, definition=definition, load=load)
            if result is not None:
                return cast("OfferDecision | Decline", result)
        return None

    def rank_offer_now(self, request: JobFulfillmentRequest, view: OfferView) -> float | None:
        """What the built-in implementations say."""
        for function in self._inner["rank_offer"]:
            result = function(request=request, view=view)
            if result is not None:
                return cast("float", result)
        return None

    # --- before or beside one --------------------------------------------------------------------

    async def decide_offer(
        self, request: JobFulfillmentRequest, definition: JobDefinition, load: AgentLoad
    ) -> OfferDecision | Decline | None:
        """What the first plugin with an opinion says; installed ones are asked before built-in ones."""
        arguments = {"request": request, "definition": definition, "load": load}
        said = await self._first("decide_offer", (OfferDecision, Decline), arguments)
        if said is None:
            return self.decide_offer_now(request, definition, load)
        return cast("OfferDecision | Decline", said)

    async def rank_offer(self, request: JobFulfillmentRequest, view: OfferView) -> float | None:
        """As :meth:`decide_offer`, for the worth of an offer."""
        said = await self._first("rank_offer", (float, int), {"request": request, "view": view})
        return self.rank_offer_now(request, view) if said is None else float(said)

    async def stage_in(self, job: JobSpec, name: str, value: Json, directory: Path) -> Json:
        """The value of an input after its data was brought to ``directory``.

        Raises:
            StagingFailed: a plugin could not do it.
        """
        return await self._stage("stage_in", job, name, value, directory)

    async def stage_out(self, job: JobSpec, name: str, value: Json, directory: Path) -> Json:
        """The value of an output after its data was taken from ``directory``.

        Raises:
            StagingFailed: a plugin could not do it.
        """
        return await self._stage("stage_out", job, name, value, directory)

    async def _stage(self, hook: str, job: JobSpec, name: str, value: Json, directory: Path) -> Json:
        arguments = {"job": job, "name": name, "value": value, "directory": directory}
        for function in self._inner[hook]:
            result = await asyncio.to_thread(partial(function, **arguments))
            if result is not None:
                return cast("Json", result)
        for plugin, function in self._outer[hook]:
            try:
                result = await plugin.call(hook, partial(function, **arguments), STAGING_LIMIT)
            except PluginUnavailable as error:
                raise StagingFailed(str(error)) from None
            if isinstance(result, str):
                return result
        return value

    async def _first(self, hook: str, kinds: tuple[type, ...], arguments: Mapping[str, Any]) -> Any:
        for plugin, function in self._outer[hook]:
            if not plugin.enabled:
                continue
            try:
                result = await plugin.call(hook, partial(function, **arguments))
            except PluginUnavailable:
                continue
            if result is None:
                continue
            if isinstance(result, kinds) and not isinstance(result, bool):
                return result
            text = f"gave a {type(result).__name__} instead of {' or '.join(k.__name__ for k in kinds)}"
            self._on_fault(Fault(plugin=plugin.name, hook=hook, text=text))
        return None

    def notify(self, event: Event) -> None:
        """Tell all plugins of an event; waits for nobody and never raises."""
        for function in self._inner["on_event"]:
            function(event=event)
        for plugin, function in self._outer["on_event"]:
            if plugin.enabled:
                try:
                    future = plugin.submit("on_event", partial(function, event=event))
                except PluginUnavailable:
                    continue
                future.add_done_callback(partial(self._notified, plugin))

    def _notified(self, plugin: IsolatedPlugin, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            plugin.failed("on_event", f"{type(error).__name__}: {error}"[:500])

    def executors(self) -> dict[str, ExecutorFactory]:
        """All executors by name.

        Raises:
            ConfigError: two plugins have one of the same name, or a plugin raises.
        """
        found: dict[str, tuple[str, ExecutorFactory]] = {}
        for implementation in self._manager.hook.caroni_executors.get_hookimpls():
            plugin = implementation.plugin_name
            try:
                offered: dict[str, ExecutorFactory] = dict(cast("Any", implementation.function()))
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                raise ConfigError(f"plugin {plugin!r} gives no executors: {text}; disable it") from None
            for name, factory in offered.items():
                if name in found:
                    both = f"{found[name][0]!r} and {plugin!r}"
                    raise ConfigError(f"plugins {both} both have an executor {name!r}; disable one")
                found[name] = (plugin, factory)
        return {name: factory for name, (_, factory) in found.items()}

    def close(self) -> None:
        """Let the plugins' threads end."""
        for plugin in self._isolated.values():
            plugin.close()


def _import(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"plugin {point.name!r} ({point.value}) cannot be loaded: {text};"
            " name it in [plugins] disabled, or uninstall it"
        ) from None


def _by_name(implementation: pluggy.HookImpl) -> Callable[..., Any]:
    """The function, taking all of its hook's arguments by name and passing on those it wants."""
    wanted, function = implementation.argnames, implementation.function
    return lambda **given: function(*[given[name] for name in wanted])
