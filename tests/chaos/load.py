"""A stream of small workflows: chains and diamonds of jobs that each leave a mark when they start."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass

from caroni.daemon.submitter import NoAnswer, Rejected, Submitter
from caroni.errors import TransientError
from tests.acceptance.site import definition
from tests.chaos.arena import MANAGERS, Arena
from tests.chaos.books import Unreadable

#: job type -> inputs, what is put together of them, the agents that have it
JOBS = {
    "head": (("text",), "$CARONI_INPUT_text-h", ("a1", "a2")),
    "grow": (("text",), "$CARONI_INPUT_text-g", ("a1", "a2", "a3")),
    "join": (("left", "right"), "($CARONI_INPUT_left+$CARONI_INPUT_right)", ("a2", "a3")),
}
#: template -> step -> job type and the sources of its inputs; the last step's text is the output
SHAPES: dict[str, dict[str, tuple[str, dict[str, str]]]] = {
    "chain": {
        "s0": ("head", {"text": "text"}),
        "s1": ("grow", {"text": "s0/text"}),
        "s2": ("grow", {"text": "s1/text"}),
    },
    "diamond": {
        "s0": ("head", {"text": "text"}),
        "s1": ("grow", {"text": "s0/text"}),
        "s2": ("grow", {"text": "s0/text"}),
        "s3": ("join", {"left": "s1/text", "right": "s2/text"}),
    },
}


def script(marks: str, form: str) -> str:
    """A job: its mark first of all, then up to a second of sleep (or three), then its output."""
    return (
        f'echo "$EPOCHREALTIME $$ $CARONI_ATTEMPT" >> "{marks}/$CARONI_JOB_ID"\n'
        "sleep 0.$((RANDOM % 10))\n"
        "((RANDOM % 16)) || sleep 3\n"
        f"""printf '{{"text": "%s"}}' "{form}" > outputs.json"""
    )


def cwl(shape: dict[str, tuple[str, dict[str, str]]]) -> str:
    """The CWL text of a shape."""
    last = list(shape)[-1]
    text = "cwlVersion: v1.2\nclass: Workflow\n$namespaces: {caroni: 'urn:caroni:cwl:'}\n"
    text += "hints: {caroni:CaroniRequirement: {maxAttempts: 3, backoff: 0s}}\n"
    text += f"inputs: {{text: string}}\noutputs: {{out: {{type: string, outputSource: {last}/text}}}}\n"
    text += "steps:\n"
    for name, (job_type, sources) in shape.items():
        types = ", ".join(f"{one}: string" for one in sources)
        text += (
            f"  {name}:\n    hints: {{caroni:CaroniRequirement: {{CaroniJobName: {job_type}}}}}\n"
            f"    run: {{class: Operation, inputs: {{{types}}}, outputs: {{text: string}}}}\n"
            f"    in: {{{', '.join(f'{k}: {v}' for k, v in sources.items())}}}\n    out: [text]\n"
        )
    return text


def expected(template: str, text: str) -> str:
    """What a workflow must give."""
    values = {"text": text}
    for name, (job_type, sources) in SHAPES[template].items():
        one = {k: values[v] for k, v in sources.items()}
        made = f"({one['left']}+{one['right']})" if job_type == "join" else f"{one['text']}-{job_type[0]}"
        values[f"{name}/text"] = made
    return made


@dataclass
class Submitted:
    """A workflow whose submit was answered."""

    manager: str
    template: str
    text: str
    uuid: bytes


class Load:
    """Keeps ``width`` workflows going on each manager."""

    def __init__(self, arena: Arena, width: int = 3) -> None:
        self.arena = arena
        self.width = width
        self.submitted: list[Submitted] = []
        self.ended: set[bytes] = set()
        self.breaks: list[str] = []
        self.submitters: dict[str, Submitter] = {}
        self._stack = contextlib.AsyncExitStack()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def prepare(self) -> None:
        """Give the agents their definitions and the managers their templates (nobody runs yet)."""
        arena = self.arena
        for name, (inputs, form, agents) in JOBS.items():
            types = ", ".join(f"{one}: string" for one in inputs)
            one = definition(name, script(str(arena.marks), form), inputs=types, outputs="text: string")
            for agent in agents:
                arena.site.define(agent, [one])
        for name, shape in SHAPES.items():
            path = arena.site.base / f"{name}.cwl"
            path.write_text(cwl(shape))
            for manager in MANAGERS:
                arena.template(manager, name, path)

    async def start(self) -> None:
        """Begin to submit."""
        for manager in MANAGERS:
            submitter = self.arena.site.submitter("s", manager)
            self.submitters[manager] = await self._stack.enter_async_context(submitter)
            for lane in range(self.width):
                self._tasks.append(asyncio.create_task(self._stream(manager, lane)))

    @property
    def ended_of_submitted(self) -> int:
        """How many of them have ended, as far as it was seen."""
        return sum(one.uuid in self.ended for one in self.submitted)

    async def stop(self) -> None:
        """Submit nothing more; what was begun is waited for by :meth:`finish`."""
        self._stopping.set()

    async def finish(self, seconds: float) -> None:
        """Wait until all that was submitted has ended; what has not is the oracle's matter."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.breaks += [
                f"a stream of workflows failed: {task.exception()!r}"
                for task in self._tasks
                if task.done() and not task.cancelled() and task.exception()
            ]

    async def close(self) -> None:
        """Let go of the broker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _stream(self, manager: str, lane: int) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            template = list(SHAPES)[(number + lane) % len(SHAPES)]
            one = await self._submit(manager, template, f"{manager}.{lane}.{number}")
            if one is None:
                continue
            self.submitted.append(one)
            while one.uuid not in self.ended:
                await self._look(manager)
                await asyncio.sleep(0.3)

    async def _submit(self, manager: str, template: str, text: str) -> Submitted | None:
        """Submit until there is an answer: the same submit again makes no second workflow."""
        submitter = self.submitters[manager]
        create = submitter.new_create(template, {"text": json.dumps(text)})
        while True:
            try:
                created = await submitter.submit(create, 15)
            except (NoAnswer, TransientError):
                await asyncio.sleep(0.2)
            except Rejected as error:
                self.breaks.append(f"{manager} rejects {template} {text}: {error}")
                await asyncio.sleep(1)
                return None
            else:
                return Submitted(manager, template, text, created.workflow_uuid)

    async def _look(self, manager: str) -> None:
        with contextlib.suppress(Unreadable):
            query = "SELECT workflow_uuid FROM workflow WHERE ended_at > 0 ORDER BY ended_at DESC LIMIT 50"
            self.ended |= {bytes.fromhex(uuid) for (uuid,) in await self.arena.books.rows(manager, query)}
