"""The hooks a plugin may implement, and the values that pass.

A plugin is a module or object with functions of these names, marked with :data:`hookimpl`, and named
under the entry point group ``caroni.plugins``::

    from caroni.plugins.hookspecs import Decline, hookimpl

    @hookimpl
    def decide_offer(request, definition, load):
        if request.max_runtime > 3_600_000_000:
            return Decline(reason=DeclineReason.POLICY, message="nothing over an hour here")

A hook may take fewer arguments than its specification has. All hooks but ``caroni_executors`` run in a
thread of their plugin with a time limit; a hook that raises or overruns has said nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pluggy

from caroni.core.draft import Event
from caroni.core.messages import DeclineReason, JobFulfillmentOffer, JobFulfillmentRequest, Json
from caroni.core.plan import MINUTE
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import ExecutorFactory, JobSpec

PROJECT = "caroni"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class AgentLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent has to do when it decides on a request."""

    slots: int
    running: int = 0
    #: jobs that have all inputs and wait for a slot
    queued: int = 0
    #: jobs that wait for inputs, and open offers
    reserved: int = 0
    #: the asking manager's part of all of these
    of_manager: int = 0
    manager: str = ""


class OfferDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Offer the job. 0 leaves a duration (microseconds) to the agent's configuration."""

    ttl: int = 0
    max_offline: int = 0
    message: str = ""


class Decline(msgspec.Struct, frozen=True, kw_only=True):
    """Do not offer the job. ``retry_after`` in microseconds."""

    reason: DeclineReason = DeclineReason.POLICY
    message: str = ""
    retry_after: int = MINUTE


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """An offer as a ranking sees it."""

    agent: str
    offer: JobFulfillmentOffer
    #: jobs of this manager that this agent completed and failed lately
    completed: int = 0
    failed: int = 0


class CaroniHooks:
    """All hooks. The first plugin that says something (not None) decides, unless noted otherwise."""

    @hookspec(firstresult=True)
    def decide_offer(
        self, request: JobFulfillmentRequest, definition: JobDefinition, load: AgentLoad
    ) -> OfferDecision | Decline | None:
        """Agent: whether to offer for a request that policy and definition allow. None: no opinion.

        Args:
            request: what a manager asks for; its hints are the requester's words, verified as his.
            definition: the agent's own definition of that job type.
            load: what there is to do already.
        """

    @hookspec(firstresult=True)
    def rank_offer(self, request: JobFulfillmentRequest, view: OfferView) -> float | None:
        """Manager: how good an offer is; the highest of the offer window wins. None: no opinion.

        Negative infinity refuses the offer. Called only where a window for offers is configured.
        """

    @hookspec
    def caroni_executors(self) -> Mapping[str, ExecutorFactory] | None:
        """Agent: executors by name, from all plugins. Called once, when the agent starts."""

    @hookspec(firstresult=True)
    def stage_in(self, job: JobSpec, name: str, value: Json, directory: Path) -> Json | None:
        """Agent: bring the data an input refers to into ``directory``; gives the value to use instead.

        Called for inputs that hold a File or Directory, before the job starts. None: left as it is.

        Raises:
            Exception: the data cannot be had; the job fails with class ``input`` and this text.
        """

    @hookspec(firstresult=True)
    def stage_out(self, job: JobSpec, name: str, value: Json, directory: Path) -> Json | None:
        """Agent: put the data an output refers to where others can reach it; gives the value to send.

        Called for outputs that hold a File or Directory, after the job has ended well. None: as it is.

        Raises:
            Exception: the data cannot be put away; the job fails with class ``agent`` and this text.
        """

    @hookspec
    def on_event(self, event: Event) -> None:
        """Both: something happened (a job failed, an agent was lost, ...). All plugins hear all events.

        Events are for notification only. They are dropped when a plugin is slower than they come.
        """
