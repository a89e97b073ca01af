"""Small peers of the base protocol: an agent, a manager and a submitter, as strict as real ones.

Each has a new topic at every start, keeps nothing, and ends at the first message that it does not expect.
The test then fails: ``check`` (also at the end of ``async with``) says what ended it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.acceptance.base_wire import MESSAGES, decode, encode

EXCHANGE = "caroni_exchange"
FULFILLMENT = "wf.agent.fulfillment"


class Died(AssertionError):
    """A message has ended this peer."""


class JobFails(Exception):
    """Raised by a job's function: the job ends as failed."""


def new_topic(role: str) -> str:
    return f"wf.{role}.{base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b'=').decode()}"


def expect(condition: object, why: str) -> None:
    if not condition:
        raise Died(why)


class BasePeer:
    """What all have: a connection, the exchange, one queue, and one message at a time."""

    role = "agent"
    more_keys: tuple[str, ...] = ()

    def __init__(self, url: str) -> None:
        self.url = url
        self.topic = new_topic(self.role)
        #: everything that came and left, as ``(name, fields)``
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.died: BaseException | None = None
        self._inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self.url)
        channel = await self._connection.channel()
        self.exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=False)
        self.queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        for key in (self.topic, *self.more_keys):
            await self.queue.bind(self.exchange, key)
        await self.queue.consume(self._inbox.put, no_ack=True)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.vanish()
        if kind is None:
            self.check()

    async def vanish(self) -> None:
        """End without a word; the queue goes with the connection."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._connection.close()

    def check(self) -> None:
        """Fail if something has ended this peer."""
        if self.died is not None:
            raise self.died

    async def _run(self) -> None:
        try:
            await self.begin()
            while True:
                message = await self._inbox.get()
                try:
                    name, fields = decode(message.body)
                except (ValueError, IndexError, KeyError) as error:
                    raise Died(f"{type(self).__name__} cannot read this: {error}") from error
                self.got.append((name, fields))
                handler: Callable[..., Awaitable[None]] | None = getattr(self, f"on_{name}", None)
                if handler is None:
                    raise Died(f"{type(self).__name__} does not expect {name}")
                await handler(message.reply_to or "", **fields)
        except Exception as error:
            self.died = error
            await self._connection.close()

    async def begin(self) -> None:
        """What is done first."""

    async def say(self, key: str, name: str, **fields: Any) -> None:
        self.sent.append((name, fields))
        body = encode(name, **fields)
        await self.exchange.publish(aio_pika.Message(body, reply_to=self.topic), routing_key=key)

    def names(self, kind: str = "got") -> list[str]:
        return [name for name, _ in getattr(self, kind)]


class Observer(BasePeer):
    """Hears all that goes over the exchange, and ends at what base peers cannot read."""

    more_keys = ("#",)

    async def take(self, sender: str, **fields: Any) -> None:
        """It is in ``got``."""


for _name in MESSAGES:
    setattr(Observer, f"on_{_name}", Observer.take)


# --- an agent ------------------------------------------------------------------------------------


@dataclass
class BaseJobType:
    """Exactly these inputs, and what makes the outputs of them (in a thread: the agent is deaf meanwhile)."""

    inputs: frozenset[str]
    run: Callable[[dict[str, str]], dict[str, str]]


@dataclass
class _AgentJob:
    manager: str
    kind: BaseJobType
    inputs: dict[str, str] = field(default_factory=dict)


class BaseAgent(BasePeer):
    role = "agent"
    more_keys = (FULFILLMENT,)

    def __init__(self, url: str, job_types: dict[str, BaseJobType]) -> None:
        super().__init__(url)
        self.job_types = job_types
        #: offer -> request and job type, until it is answered
        self._offers: dict[bytes, tuple[bytes, BaseJobType]] = {}
        self._accepted: set[bytes] = set()
        self._jobs: dict[bytes, _AgentJob] = {}

    async def on_JobFulfillmentRequest(
        self, manager: str, request_uuid: bytes, job_type_name: str, parameters: dict[str, str]
    ) -> None:
        kind = self.job_types.get(job_type_name)
        if kind is None or request_uuid in self._accepted:
            return
        expect(set(parameters) == kind.inputs, f"{job_type_name} is asked for with {sorted(parameters)}")
        expect(not any(parameters.values()), "a request has values")
        offer = uuid.uuid4().bytes
        self._offers[offer] = (request_uuid, kind)
        await self.say(
            manager,
            "JobFulfillmentOffer",
            request_uuid=request_uuid,
            offer_uuid=offer,
            site={},
            offer_message=f"Offering for {job_type_name}",
            expiration={"seconds": int(time.time()) + 18_000},
        )

    async def on_JobFulfillmentOfferAccept(
        self, manager: str, request_uuid: bytes, offer_uuid: bytes, accept_message: str
    ) -> None:
        expect(offer_uuid in self._offers, "an offer is accepted that is unknown, or was answered")
        request, kind = self._offers.pop(offer_uuid)
        expect(request == request_uuid, "an offer is accepted for another request")
        expect(request not in self._accepted, "two offers for one request are accepted")
        self._accepted.add(request)
        job = uuid.uuid4().bytes
        self._jobs[job] = _AgentJob(manager, kind)
        await self.say(manager, "JobAccepted", job_uuid=job, offer_uuid=offer_uuid)

    async def on_JobFulfillmentOfferReject(
        self, manager: str, request_uuid: bytes, offer_uuid: bytes, reject_message: str
    ) -> None:
        expect(offer_uuid in self._offers, "an offer is rejected that is unknown, or was answered")
        expect(self._offers.pop(offer_uuid)[0] == request_uuid, "an offer is rejected for another request")

    def _job(self, job_uuid: bytes) -> _AgentJob:
        expect(job_uuid in self._jobs, "a job is named that is unknown here, or has ended")
        return self._jobs[job_uuid]

    async def _status(self, job_uuid: bytes, status: str) -> None:
        manager = self._job(job_uuid).manager
        await self.say(
            manager, "JobStatusUpdate", job_uuid=job_uuid, job_status=status, status_info="this job is"
        )

    async def on_JobStatusRequest(self, manager: str, job_uuid: bytes) -> None:
        self._job(job_uuid)
        await self._status(job_uuid, "PENDING")

    async def on_JobDataAvailable(self, manager: str, job_uuid: bytes, parameters: dict[str, str]) -> None:
        job = self._job(job_uuid)
        for key, value in parameters.items():
            expect(key in job.kind.inputs, f"there is no input {key}")
            expect(key not in job.inputs, f"input {key} comes twice")
            job.inputs[key] = value
        if set(job.inputs) < job.kind.inputs:
            return
        await self._status(job_uuid, "QUEUED")
        await self._status(job_uuid, "RUNNING")
        try:
            outputs = await asyncio.to_thread(job.kind.run, job.inputs)
        except JobFails:
            await self._status(job_uuid, "FAILED")
            del self._jobs[job_uuid]
            return
        await self._status(job_uuid, "COMPLETED")
        for key, value in outputs.items():
            await self.say(job.manager, "JobDataAvailable", job_uuid=job_uuid, parameters={key: value})
        del self._jobs[job_uuid]


# --- a manager -----------------------------------------------------------------------------------


@dataclass
class BaseStep:
    """One step of a chain: job type, its inputs by where they come from, its outputs."""

    job_type: str
    inputs: dict[str, str]
    outputs: frozenset[str]
    request: bytes = b""
    agent: str = ""
    offer: bytes = b""
    job: bytes = b""
    status: str = ""
    fed: bool = False
    missing: set[str] = field(default_factory=set)


#: which status may follow which
_NEXT = {
    "": ("PENDING", "QUEUED"),
    "PENDING": ("QUEUED",),
    "QUEUED": ("RUNNING",),
    "RUNNING": ("COMPLETED", "FAILED"),
}


class BaseManager(BasePeer):
    """Has one workflow done: asks for all steps at once, feeds each when its inputs are there.

    ``repeat_data`` sends every input twice, which an agent has to tolerate.
    """

    role = "manager"

    def __init__(
        self, url: str, steps: list[BaseStep], values: dict[str, str], *, repeat_data: bool = False
    ) -> None:
        super().__init__(url)
        self.steps = steps
        self.values = values
        self.repeat_data = repeat_data
        self.done = asyncio.Event()
        self.failed = False

    async def begin(self) -> None:
        for step in self.steps:
            step.request = uuid.uuid4().bytes
            step.missing = set(step.outputs)
            await self.say(
                FULFILLMENT,
                "JobFulfillmentRequest",
                request_uuid=step.request,
                job_type_name=step.job_type,
                parameters=dict.fromkeys(step.inputs, ""),
            )

    def _step(self, what: str, value: bytes) -> BaseStep:
        found = [step for step in self.steps if getattr(step, what) == value]
        expect(found, f"a {what} is named that is unknown here")
        return found[0]

    async def on_JobFulfillmentOffer(
        self,
        agent: str,
        request_uuid: bytes,
        offer_uuid: bytes,
        site: dict[str, Any],
        offer_message: str,
        expiration: dict[str, int],
    ) -> None:
        step = self._step("request", request_uuid)
        expect(not step.offer, "a second offer for a request")
        expect(expiration["seconds"] > time.time(), "an offer that has expired")
        expect(all(offer_uuid != other.offer for other in self.steps), "an offer_uuid that was used before")
        step.agent, step.offer = agent, offer_uuid
        await self.say(
            agent,
            "JobFulfillmentOfferAccept",
            request_uuid=request_uuid,
            offer_uuid=offer_uuid,
            accept_message="offer accepted",
        )

    async def on_JobAccepted(self, agent: str, job_uuid: bytes, offer_uuid: bytes) -> None:
        step = self._step("offer", offer_uuid)
        expect(not step.job, "a job is accepted twice")
        expect(all(job_uuid != other.job for other in self.steps), "a job_uuid that was used before")
        step.job = job_uuid
        await self.say(agent, "JobStatusRequest", job_uuid=job_uuid)

    async def on_JobStatusUpdate(
        self, agent: str, job_uuid: bytes, job_status: str, status_info: str
    ) -> None:
        step = self._step("job", job_uuid)
        expect(job_status in _NEXT.get(step.status, ()), f"{job_status} after {step.status or 'nothing'}")
        step.status = job_status
        if job_status == "FAILED":
            self.failed = True
            self.done.set()
        await self._feed()

    async def on_JobDataAvailable(self, agent: str, job_uuid: bytes, parameters: dict[str, str]) -> None:
        step = self._step("job", job_uuid)
        expect(step.status == "COMPLETED", "outputs of a job that has not completed")
        expect(len(parameters) == 1, "several outputs in one message")
        for key, value in parameters.items():
            expect(key in step.missing, f"an output {key} that is unknown, or came already")
            step.missing.discard(key)
            self.values[key] = value
        await self._feed()
        if not any(step.missing for step in self.steps):
            self.done.set()

    async def _feed(self) -> None:
        for step in self.steps:
            if step.status != "PENDING" or step.fed or not set(step.inputs.values()) <= set(self.values):
                continue
            step.fed = True
            inputs = {key: self.values[source] for key, source in step.inputs.items()}
            for _ in range(2 if self.repeat_data else 1):
                await self.say(step.agent, "JobDataAvailable", job_uuid=step.job, parameters=inputs)

    async def finish(self, seconds: float) -> None:
        """Wait for the end, and no longer than this peer lives."""
        done = asyncio.create_task(self.done.wait())
        await asyncio.wait({done, self._task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        done.cancel()
        self.check()
        assert self.done.is_set(), [(step.job_type, step.status) for step in self.steps]


# --- a submitter ---------------------------------------------------------------------------------


async def submit(url: str, manager: str, template: str, name: str, inputs: dict[str, str]) -> None:
    """Say ``WorkFlowCreate`` to a manager's topic, and go."""
    async with BasePeer(url) as submitter:
        await submitter.say(manager, "WorkFlowCreate", template_name=template, wf_name=name, inputs=inputs)
