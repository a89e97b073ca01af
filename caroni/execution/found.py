"""What a spool tells of a job that its agent's database does not know.

Enough is written into ``spec.json`` to take a job up again: whose it is, which offer it came of, and its
whole definition. What cannot be identified without doubt is nobody's to touch.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from caroni.core import cwltypes
from caroni.core.ids import job_uuid_of
from caroni.core.messages import Json
from caroni.core.peers import role_of
from caroni.errors import CaroniError
from caroni.execution.claims import is_alive
from caroni.execution.definition import JobDefinition, decode_definition
from caroni.execution.executor import JobSpec, SpooledJob
from caroni.execution.spool import Spool, read_file

#: more than any ``spec.json`` or any inputs that a message can bring
_MAX_BYTES = 1 << 24


class _Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``spec.json`` that says what the job is."""

    boot: str
    agent: str
    manager: str
    offer: str
    request: str
    attempt: int
    max_runtime: int
    revision: int
    parameters: tuple[str, ...]
    definition: msgspec.Raw


def identify(spool: Spool, job_uuid: bytes, agent: str) -> SpooledJob | None:
    """The job in a directory of the spool, if it is this agent's and everything about it is known.

    Its inputs are read only where it has not begun: afterwards the files are the job's own.
    """
    directory = spool.directory(job_uuid)
    try:
        spec = msgspec.json.decode(read_file(f"{directory}/spec.json", _MAX_BYTES), type=_Spec)
        offer, request = bytes.fromhex(spec.offer), bytes.fromhex(spec.request)
        definition = decode_definition(bytes(spec.definition).decode())
        if not agent or spec.agent != agent or role_of(spec.manager) != "manager":
            return None
        if len(offer) != 16 or len(request) != 16 or job_uuid_of(offer) != job_uuid:
            return None
        claimed = spool.claim_of(job_uuid) is not None
        inputs = {} if claimed else _inputs(directory, definition)
        paused = claimed and os.path.lexists(f"{directory}/pause")
    except (OSError, ValueError, msgspec.MsgspecError, CaroniError):
        return None
    return SpooledJob(
        spec=JobSpec(
            manager=spec.manager,
            job_uuid=job_uuid,
            request_uuid=request,
            definition=definition,
            inputs=inputs,
            attempt=spec.attempt,
            max_runtime=spec.max_runtime,
            agent=agent,
            offer_uuid=offer,
            definition_revision=spec.revision,
            parameters=spec.parameters,
        ),
        paused=paused,
    )


def _inputs(directory: str, definition: JobDefinition) -> dict[str, Json]:
    raw = msgspec.json.decode(
        read_file(f"{directory}/work/inputs.json", _MAX_BYTES), type=dict[str, msgspec.Raw]
    )
    inputs = {name: bytes(value).decode() for name, value in raw.items()}
    for name, value in inputs.items():
        cwltypes.check_json(value, definition.inputs[name])
    if not inputs.keys() >= set(definition.required_inputs):
        raise ValueError("an input is missing")
    return inputs


def is_stale(spool: Spool, job_uuid: bytes, older_than: int) -> bool:
    """Whether nothing has happened in a job's directory since ``older_than`` (wall microseconds).

    A job whose supervisor lives is never stale.
    """
    directory = Path(spool.directory(job_uuid))
    try:
        newest = max(
            os.lstat(path).st_mtime_ns for path in (directory, *directory.iterdir()) if path.name != "work"
        )
    except OSError:
        return False
    if newest // 1000 >= older_than:
        return False
    claim = spool.claim_of(job_uuid)
    return claim is None or claim.boot != spool.boot or not is_alive(claim)
