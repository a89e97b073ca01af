"""One workflow on the embedded system: what ``caroni run`` and ``caroni demo`` have in common."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from caroni import logs
from caroni.cli.progress import Progress
from caroni.core.inputs import bind_inputs, unknown_input
from caroni.core.messages import Json
from caroni.core.plan import Plan
from caroni.core.rows import Job, Step
from caroni.core.states import JobState, StepState
from caroni.cwl import Bundle, load, load_inputs
from caroni.daemon.embedded import Embedded, check_job_types, load_jobs
from caroni.daemon.engine import Seen
from caroni.errors import ConfigError, DocumentError, UnsupportedFeature, UsageError
from caroni.execution.definition import JobDefinition
from caroni.services.arguments import decoded_values, split_pairs, typed_arguments
from caroni.services.templates import template_name
from caroni.services.workflows import StepOfWorkflow, step_of
from caroni.text import safe_line

#: seconds between two looks at the rows of a workflow; small ones are looked at with every change
PAUSE, MANY = 0.25, 200
_PAGE = 1000
_T = TypeVar("_T")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run needs, read and checked."""

    name: str
    plan: Plan
    documents: str
    inputs: dict[str, Json]
    agents: dict[str, list[JobDefinition]]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow ended."""

    workflow: str
    state: str
    failure: str
    steps: list[StepOfWorkflow]
    outputs: dict[str, Any]


def read_task(workflow: Path, inputs: Path | None, pairs: Iterable[str], jobs: Path | None) -> Task:
    """Read and check a workflow, its inputs and the job definitions.

    Raises:
        UnsupportedFeature: valid CWL that this version cannot run; with line and column.
        UsageError: something else is wrong with a file or an input.
        ConfigError: there is no directory of job definitions.
    """
    directory = jobs if jobs is not None else workflow.parent / "jobs"
    try:
        bundle = Bundle.from_path(workflow)
        plan = load(bundle)
        given = load_inputs(inputs, plan) if inputs is not None else {}
        types = {i.name: i.type for i in plan.inputs}
        pairs = list(pairs)
        for name in split_pairs(pairs):
            if name not in types:
                raise UsageError(f"--input: {unknown_input(name, types)}")
        given.update(typed_arguments(pairs, types))
        bound = bind_inputs(plan, given)
        if jobs is None and not directory.is_dir():
            shown = safe_line(str(directory))
            raise UsageError(f"no job definitions: {shown} is no directory; give --jobs DIR")
        agents = load_jobs(directory)
    except UnsupportedFeature:
        raise
    except DocumentError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{safe_line(str(error.filename))}: {error.strerror}") from None
    check_job_types(plan, agents, directory)
    try:
        name = template_name(workflow)
    except UsageError:
        name = "workflow"
    documents = msgspec.json.encode(bundle, order="deterministic").decode()
    return Task(name=name, plan=plan, documents=documents, inputs=bound, agents=agents)


@contextmanager
def work_directory(keep: Path | None) -> Iterator[Path]:
    """A private directory for databases and jobs: a temporary one, or ``keep``, which must be new or empty.

    Raises:
        ConfigError: it cannot be made, or holds something.
    """
    if keep is None:
        directory = Path(tempfile.mkdtemp(prefix="caroni-"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return
    shown = safe_line(str(keep))
    try:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise ConfigError(f"{shown} exists and is not empty: choose another directory")
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{shown} cannot be made: {error.strerror}") from None
    yield keep.resolve()


@asynccontextmanager
async def embedded(
    directory: Path, agents: Mapping[str, Sequence[JobDefinition]], slots: int | None
) -> AsyncIterator[Embedded]:
    """The embedded system, running."""
    system = Embedded(directory, agents, slots=slots)
    try:
        await system.start()
        yield system
    finally:
        await system.stop()


def run_to_end(work: Awaitable[_T]) -> _T:
    """Run until it ends; SIGINT, SIGTERM and SIGHUP cancel it, which ends jobs and cleans up.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    logs.configure("error", "human")

    async def main() -> _T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def run_task(
    system: Embedded, task: Task, progress: Progress, observer: Callable[[Seen], None] | None = None
) -> Ended:
    """Submit the workflow and follow it to its end; cancelling kills its jobs."""
    changed = asyncio.Event()
    system.manager.engine.observers.append(lambda seen: changed.set())
    if observer is not None:
        system.observe(observer)
    await system.add_template(task.name, task.plan, task.documents)
    created = await system.submitter.submit(system.submitter.new_create(task.name, task.inputs))
    uuid = created.workflow_uuid
    shower = asyncio.create_task(_show(system, uuid, progress, changed))
    try:
        outputs: Mapping[str, Json] = {}
        state = failure = error = ""
        async for update in system.submitter.follow(uuid):
            summary = update.workflows[0]
            state, failure, outputs, error = summary.state, summary.failure, update.outputs, update.error
    except asyncio.CancelledError:
        shower.cancel()
        await system.cancel(uuid)
        raise
    finally:
        shower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shower
    steps = await read_steps(system, uuid)
    progress.show(state, steps)
    if error and not outputs:
        outputs = await _outputs(system, uuid)
    return Ended(
        workflow=uuid.hex(), state=state, failure=failure, steps=steps, outputs=decoded_values(outputs)
    )


async def _outputs(system: Embedded, uuid: bytes) -> dict[str, Json]:
    """Outputs that are too large for a message."""
    from caroni.services.workflows import workflow_outputs

    found = await system.manager.store.workflow(uuid)
    return await workflow_outputs(system.manager.store, found.workflow) if found is not None else {}


async def _show(system: Embedded, uuid: bytes, progress: Progress, changed: asyncio.Event) -> None:
    while True:
        changed.clear()
        steps = await read_steps(system, uuid)
        progress.show("running", steps)
        await asyncio.sleep(PAUSE if len(steps) > MANY else 0.01)
        await changed.wait()


async def read_steps(system: Embedded, uuid: bytes) -> list[StepOfWorkflow]:
    """The steps of a workflow as the manager's database has them now."""
    steps: list[StepOfWorkflow] = []
    after = -1
    while page := cast("list[Step]", await system.manager.store.steps(uuid, limit=_PAGE, after=after)):
        steps += [_with_job(system, row) for row in page]
        after = page[-1].index
        if len(page) < _PAGE:
            break
    return steps


def _with_job(system: Embedded, row: Step) -> StepOfWorkflow:
    """A step as it is shown; for the manager it runs as soon as its job waits in the agent's queue."""
    step = step_of(row)
    job = system.manager.role.state.get(Job, row.current) if row.state is StepState.RUNNING else None
    if job is None:
        return step
    state = "queued" if job.state is JobState.QUEUED else step.state
    return msgspec.structs.replace(step, state=state, started_at=job.started_at)


def program() -> str:
    """How this program is called here, to be copied to a command line."""
    called = Path(sys.argv[0])
    if called.name != "caroni":
        return f"{_near(Path(sys.executable))} -m caroni"
    found = shutil.which("caroni")
    if found is not None and Path(found).resolve() == called.resolve():
        return "caroni"
    return _near(called)


def _near(path: Path) -> str:
    """A path from the current directory where that is shorter."""
    absolute = path.absolute()
    with contextlib.suppress(ValueError):
        return str(absolute.relative_to(Path.cwd()))
    return str(absolute)


def near(path: Path) -> str:
    """A file as it is named on a command line given here."""
    return _near(path)
