"""A submitter's seat at the broker: it knows a manager's name, and neither a database nor an inbox.

Its queue is exclusive and goes with the connection. What managers push is best effort, so whoever waits
also asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec
import structlog

from caroni.core.messages import (
    Json,
    Message,
    OnFailure,
    Reserve,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowCreated,
    WorkFlowPause,
    WorkFlowRejected,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
    WorkFlowStatusUpdate,
)
from caroni.daemon.bus.topology import submitter_queues
from caroni.daemon.engine import Seen
from caroni.daemon.node import Identity
from caroni.daemon.outbox import routing_key
from caroni.daemon.ports import Bus, Clock, Delivery, Outcome, Publish
from caroni.errors import CaroniError, CommandRefused, MessageRejected, TransientError
from caroni.text import safe_line
from caroni.wire.bundle import Part, pack
from caroni.wire.codec import encode
from caroni.wire.envelope import Item, Opened, Opener, Parked, Sealer, permit
from caroni.wire.topics import short_id, topic_of

log = structlog.get_logger()

#: seconds after which an unanswered question is asked again
ASK_AGAIN = 10.0
#: a manager without a queue is tried so often more, with so many seconds between
NO_QUEUE_TRIES = 10
NO_QUEUE_PAUSE = 0.5
#: workflow states that do not change any more
ENDED = frozenset({"completed", "failed", "cancelled"})


class Rejected(CaroniError):
    """The manager refuses the workflow; the text says why."""


class NoAnswer(CaroniError):
    """The manager has not answered (it may be offline: the request waits in its queue)."""


class NoQueue(NoAnswer):
    """The broker knows no queue of this manager: nothing has been sent."""


class NoBroker(TransientError):
    """The broker is not in reach."""


#: what may be asked of a workflow
Wish = WorkFlowCancel | WorkFlowPause | WorkFlowResume | WorkFlowRetry


def _placed(message: Message, conversation_id: bytes) -> Message:
    """A refusal names no workflow: the conversation it belongs to does."""
    if isinstance(message, WorkFlowStatusUpdate) and not message.request_uuid and message.error:
        return msgspec.structs.replace(message, request_uuid=conversation_id)
    return message


def _refuse(update: WorkFlowStatusUpdate, workflow_uuid: bytes) -> None:
    if update.error and not update.workflows and update.request_uuid == workflow_uuid:
        raise CommandRefused(safe_line(update.error, 500))


class Submitter:
    """Submits to one manager and follows what becomes of it."""

    def __init__(self, *, identity: Identity, manager: str, bus: Bus, clock: Clock) -> None:
        self._identity = identity
        self.observers: list[Callable[[Seen], None]] = []
        self._manager = manager
        self._bus = bus
        self._clock = clock
        self._dice = random.SystemRandom()
        self._sealer = Sealer(identity.signer, identity.uri, identity.federation)
        self._opener = Opener(identity.trust, identity.uri, identity.federation, identity.mode, identity.skew)
        self._stream = clock.now() // 1000
        self._sequence = 0
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(maxsize=10_000)
        #: statuses that came while another answer was waited for
        self._later: deque[WorkFlowStatusUpdate] = deque(maxlen=1000)
        self._connected = asyncio.Event()
        self._acks: set[asyncio.Task[None]] = set()

    async def start(self, seconds: float = 10.0) -> None:
        """Connect.

        Raises:
            NoBroker: not within ``seconds``.
        """
        nonce = self._dice.randbytes(6).hex()
        queues = submitter_queues(short_id(self._identity.uri), nonce)
        await self._bus.start(queues, self._deliver, self._connected.set)
        try:
            async with asyncio.timeout(seconds):
                await self._connected.wait()
        except TimeoutError:
            raise NoBroker("the broker is not in reach") from None

    async def close(self) -> None:
        """Let go of the broker."""
        await self._bus.close()

    def _deliver(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._bus.ack([delivery]))
        self._acks.add(task)
        task.add_done_callback(self._acks.discard)
        try:
            opened = self._opener.open(delivery.body, self._clock.now(), delivery.reply_to)
        except (MessageRejected, Parked) as verdict:
            log.warning("message refused", verdict=str(verdict))
            return
        if opened.sender != self._manager:
            return
        for item in opened.items:
            with contextlib.suppress(MessageRejected, asyncio.QueueFull):
                if item.message is not None:
                    permit(opened.role, item.message)
                    self._observe(opened, item)
                    self._inbox.put_nowait(_placed(item.message, item.conversation_id))

    def _observe(self, opened: Opened, item: Item) -> None:
        if not self.observers or item.message is None:
            return
        seen = Seen(
            at=self._clock.now(),
            sender=opened.sender,
            receiver=self._identity.uri,
            message=item.message,
            conversation_id=item.conversation_id,
            unsigned=opened.unsigned,
        )
        for observer in self.observers:
            observer(seen)

    async def _send(self, message: Message, conversation_id: bytes) -> None:
        type_url, value = encode(message)
        message_id = self._dice.randbytes(16)
        self._sequence += 1
        payload = pack([Part(message_id, conversation_id, b"", type_url, value)])
        sealed = self._sealer.seal(
            payload,
            self._manager,
            message_id,
            conversation_id,
            b"",
            self._clock.now(),
            self._stream,
            self._sequence,
        )
        outcome = await self._bus.publish(
            Publish(
                routing_key=routing_key(self._manager, message),
                body=sealed,
                message_id=message_id.hex(),
                type=type(message).__name__,
                reply_to=topic_of(self._identity.uri),
                correlation_id=conversation_id.hex(),
            )
        )
        if outcome is Outcome.UNROUTABLE:
            raise NoQueue(f"{self._manager} has no queue at this broker: was it ever started there?")

    async def _send_patiently(self, message: Message, conversation_id: bytes) -> None:
        """A manager that is just being started for the first time has no queue yet."""
        for _ in range(NO_QUEUE_TRIES):
            try:
                await self._send(message, conversation_id)
                return
            except NoQueue:
                await asyncio.sleep(NO_QUEUE_PAUSE)
        await self._send(message, conversation_id)

    # --- what one does here ------------------------------------------------------------------

    def new_create(
        self,
        template: str,
        inputs: dict[str, Json],
        *,
        name: str = "",
        watch: bool = True,
        kill_on_failure: bool = False,
        reserve_all: bool = False,
        submit_uuid: bytes = b"",
    ) -> WorkFlowCreate:
        """A submit; sending it twice makes one workflow."""
        return WorkFlowCreate(
            template_name=template,
            wf_name=name or template,
            inputs=inputs,
            submit_uuid=submit_uuid or self._dice.randbytes(16),
            watch=watch,
            on_failure=OnFailure.KILL if kill_on_failure else OnFailure.DRAIN,
            reserve=Reserve.ALL if reserve_all else Reserve.READY,
        )

    async def submit(self, create: WorkFlowCreate, seconds: float = 30.0) -> WorkFlowCreated:
        """Send a submit until it is answered.

        Raises:
            Rejected: the manager refuses.
            NoAnswer: not within ``seconds``; the request waits in the manager's queue.
            TransientError: the broker went away.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._send_patiently(create, create.submit_uuid)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_AGAIN):
                            return await self._answer_to(create)
        except TimeoutError:
            raise NoAnswer(
                f"{self._manager} has not answered within {seconds:.0f} s;"
                " the request waits in its queue, submitting again makes no second workflow"
            ) from None

    async def _answer_to(self, create: WorkFlowCreate) -> WorkFlowCreated:
        while True:
            message = await self._inbox.get()
            if isinstance(message, WorkFlowCreated) and message.submit_uuid == create.submit_uuid:
                return message
            if isinstance(message, WorkFlowRejected) and message.submit_uuid == create.submit_uuid:
                raise Rejected(message.reason)

    async def follow(self, workflow_uuid: bytes) -> AsyncIterator[WorkFlowStatusUpdate]:
        """Every status of a workflow that comes, until its end; asks when none comes for a while."""
        while True:
            try:
                async with asyncio.timeout(ASK_AGAIN):
                    message = self._later.popleft() if self._later else await self._inbox.get()
            except TimeoutError:
                with contextlib.suppress(TransientError, NoAnswer):
                    await self._ask(workflow_uuid)
                continue
            if not isinstance(message, WorkFlowStatusUpdate):
                continue
            if message.error and not message.workflows:
                raise CaroniError(message.error)
            if message.workflows and message.workflows[0].workflow_uuid == workflow_uuid:
                yield message
                if message.workflows[0].state in ENDED:
                    return

    async def _ask(self, workflow_uuid: bytes) -> None:
        request = self._dice.randbytes(16)
        await self._send(
            WorkFlowStatusRequest(
                request_uuid=request, workflow_uuid=workflow_uuid, watch=bool(workflow_uuid)
            ),
            request,
        )

    async def watch(self, workflow_uuid: bytes) -> AsyncIterator[WorkFlowStatusUpdate]:
        """As :meth:`follow`, for a workflow that was submitted earlier."""
        await self._ask(workflow_uuid)
        async for update in self.follow(workflow_uuid):
            yield update

    async def status(
        self, workflow_uuid: bytes = b"", page: int = 0, seconds: float = 30.0, *, explain: bool = False
    ) -> WorkFlowStatusUpdate:
        """The status of one workflow, or a page of this submitter's own.

        With ``explain`` it also says why the workflow is not running.

        Raises:
            NoAnswer: not within ``seconds``.
            CaroniError: the manager says so: no such workflow.
        """
        request = self._dice.randbytes(16)
        ask = WorkFlowStatusRequest(
            request_uuid=request, workflow_uuid=workflow_uuid, page=page, explain=explain
        )
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._send(ask, request)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_AGAIN):
                            return await self._status_answer(request)
        except TimeoutError:
            raise NoAnswer(f"{self._manager} has not answered within {seconds:.0f} s") from None

    async def _status_answer(self, request: bytes) -> WorkFlowStatusUpdate:
        while True:
            message = await self._inbox.get()
            if not isinstance(message, WorkFlowStatusUpdate):
                continue
            if message.request_uuid != request:
                self._later.append(message)
                continue
            if message.error and not message.workflows:
                raise CaroniError(message.error)
            return message

    async def steer(self, wish: Wish, seconds: float = 30.0) -> WorkFlowStatusUpdate:
        """Have a workflow cancelled, paused, resumed or retried; gives how it stands then.

        Raises:
            CommandRefused: the manager cannot do that; says why.
            NoAnswer: not within ``seconds``; the wish waits in the manager's queue.
            CaroniError: the manager knows no such workflow of this submitter.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._send(wish, wish.workflow_uuid)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_AGAIN):
                            await self._steered(wish.workflow_uuid)
                            break
        except TimeoutError:
            raise NoAnswer(
                f"{self._manager} has not answered within {seconds:.0f} s; what was asked waits in its queue"
            ) from None
        # a push that was on its way may have been taken for the answer: ask how it stands now
        now = await self.status(workflow_uuid=wish.workflow_uuid, seconds=seconds)
        for late in self._later:
            _refuse(late, wish.workflow_uuid)
        return now

    async def _steered(self, workflow_uuid: bytes) -> None:
        while True:
            message = await self._inbox.get()
            if not isinstance(message, WorkFlowStatusUpdate):
                continue
            _refuse(message, workflow_uuid)
            if message.workflows and message.workflows[0].workflow_uuid == workflow_uuid:
                return

    async def cancel(self, workflow_uuid: bytes, reason: str = "") -> None:
        """Ask the manager to stop a workflow; its answer is a status that :meth:`follow` gives."""
        await self._send(WorkFlowCancel(workflow_uuid=workflow_uuid, reason=reason), workflow_uuid)
