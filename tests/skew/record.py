"""Records what a release leaves behind: filled databases, a spool, and sealed envelopes.

It runs the release, not the present code. For release R of this repository::

    git worktree add /tmp/release R
    cd /tmp/release && PYTHONPATH=/tmp/release python -P PRESENT/tests/skew/record.py \
        PRESENT/tests/skew/data/NAME

NAME is the newest migration of that release; ``PRESENT`` is the present checkout. What is written there:

``manager.sql.gz``, ``agent.sql.gz``
    dumps of both databases after a clean stop with the broker away: a workflow that has completed, one
    whose job ended at the agent and is not told yet (open outbox rows), one whose job ends only after the
    agent has stopped, one whose request nobody has offered for, a quarantine, rejects, ledger and peers.
``spool.tar.gz``
    the agent's spool: the results of both jobs.
``envelopes.json``
    one sealed envelope of each message type, bundles, one that names its certificate by fingerprint.
``world.json``
    the instant of the recording, certificates and private keys (made for this, worth nothing), what to
    expect. Whoever reads the recording takes its instant for the present one, so nothing expires.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import io
import json
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from caroni.core.agent.state import ENDED
from caroni.core.messages import JobFulfillmentRequest, JobKill, WorkFlowPause
from caroni.core.plan import Plan, PlanInput, PlanStep, WorkflowInput, WorkflowOutput
from caroni.core.rows import AgentJob
from caroni.core.states import AgentJobState
from caroni.daemon import embedded
from caroni.daemon.bus.faults import Faults
from caroni.daemon.ports import Bus, Publish
from caroni.execution.definition import JobDefinition
from caroni.model.schema import known_migrations
from caroni.trust.authority import CertificateAuthority
from caroni.trust.keys import KeySigner, SigningKey
from caroni.trust.store import TrustStore
from caroni.wire.bundle import Payload, pack
from caroni.wire.codec import encode
from caroni.wire.envelope import Sealer
from caroni.wire.rules import RULES
from caroni.wire.topics import short_id
from tests.wire.samples import filled

AGENT = "north"

ECHO = JobDefinition(
    name="echo", executor="noop", command=("true",), inputs={"out": "string"}, outputs={"out": "string"}
)
GATED = JobDefinition(
    name="gated",
    inputs={"out": "string", "gate": "string"},
    outputs={"out": "string"},
    script='for turn in {1..1200}; do [ -e "$CARONI_INPUT_gate" ] && break; sleep 0.05; done\n'
    'printf \'{"out": "%s, slowly"}\' "$CARONI_INPUT_out" > "$CARONI_OUTPUTS"\n',
)


def step(name: str, job_type: str, *sources: str) -> PlanStep:
    """A step that echoes its first source."""
    names = ("out", "gate")
    return PlanStep(
        name=name,
        job_type=job_type,
        inputs=tuple(
            PlanInput(name=n, type="string", source=s) for n, s in zip(names, sources, strict=False)
        ),
        outputs={"out": "string"},
    )


def two_steps(first: PlanStep) -> Plan:
    """``first``, and an echo of what it gives."""
    return Plan(
        inputs=(WorkflowInput(name="start", type="string"), WorkflowInput(name="gate", type="string")),
        steps=(first, step("second", "echo", f"{first.name}/out")),
        outputs=(WorkflowOutput(name="result", source="second/out"),),
    )


PLANS = {
    "quick": two_steps(step("first", "echo", "start")),
    "slow": two_steps(step("first", "gated", "start", "gate")),
    "unserved": two_steps(step("first", "later", "start")),
}


class Recorded(embedded.Embedded):
    """The embedded system whose CA and keys are kept."""

    def __init__(self, directory: Path) -> None:
        self.signers: dict[str, KeySigner] = {}
        self.authority: CertificateAuthority

        def kept(site: str, participants: Any, *, now: int) -> tuple[TrustStore, dict[str, KeySigner]]:
            self.authority = CertificateAuthority.in_memory(site, now=now)
            signers = [self.authority.issue_key(role, name, now=now) for role, name in participants]
            self.signers = {signer.uri: signer for signer in signers}
            return TrustStore([self.authority.trust()]), self.signers

        embedded.throwaway = kept  # type: ignore[attr-defined]
        super().__init__(directory, {AGENT: [ECHO, GATED]}, slots=4)

    @property
    def broker(self) -> Any:
        """The in-process broker."""
        return self._broker


async def until(what: str, condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - rows announce nothing
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise SystemExit(f"never seen: {what}") from None


async def record_databases(directory: Path, out: Path) -> dict[str, Any]:
    """Work, stop and dump; gives what is to be known of it."""
    federation = Recorded(directory)
    await federation.start()
    (agent,), manager = federation.agents, federation.manager
    for name, plan in PLANS.items():
        await federation.add_template(name, plan)
    submitter = federation.submitter
    results: dict[str, str] = {}

    async def submit(name: str, template: str) -> bytes:
        gate = str(directory / f"gate-{name}")
        inputs = {"start": json.dumps(f"of {name}"), "gate": json.dumps(gate)}
        created = await submitter.submit(submitter.new_create(template, inputs, name=name))
        shown = f"of {name}" + (", slowly" if template == "slow" else "")
        results[name] = json.dumps(shown)
        return created.workflow_uuid

    quick = await submit("completed", "quick")
    async for _ in submitter.follow(quick):
        pass
    for name in ("untold", "unended"):
        await submit(name, "slow")
    await submit("unserved", "unserved")

    def jobs(*states: AgentJobState) -> list[AgentJob]:
        rows = cast("Iterable[AgentJob]", agent.role.state.tables[AgentJob].values())
        return [job for job in rows if job.state in states]

    await until("two running jobs", lambda: len(jobs(AgentJobState.RUNNING)) == 2)
    await until("an empty outbox", lambda: not manager.outbox.unsent and not agent.outbox.unsent)
    await publish_trouble(federation, submitter._bus)
    await until(
        "a refused message", lambda: counted(directory, "quarantine") == 2 and counted(directory, "reject")
    )
    # from here on nothing leaves: what the daemons say stays in their outboxes
    federation.broker.faults = Faults(1, lose_publish=1.0)
    results["unasked"] = json.dumps("of unasked")
    federation.broker.route(last_words(federation))
    await submitter.close()
    (directory / "gate-untold").touch()
    await until("a job that ended", lambda: len(jobs(AgentJobState.RUNNING)) == 1)
    await until("an untold end", lambda: agent.outbox.unsent)
    await until("an unsent request", lambda: manager.outbox.unsent)
    running = jobs(AgentJobState.RUNNING)
    assert not [job for job in running if job.state in ENDED]
    await agent.stop()
    await manager.stop()
    (directory / "gate-unended").touch()
    ended = directory / AGENT / "spool" / running[0].job_uuid.hex() / "exit.json"
    await until("a result in the spool", ended.exists)
    federation._plugins.close()
    dump(directory / embedded.MANAGER / "caroni.db", out / "manager.sql.gz")
    dump(directory / AGENT / "caroni.db", out / "agent.sql.gz")
    pack_spool(directory / AGENT / "spool", out / "spool.tar.gz")
    return {
        "migrations": list(known_migrations()),
        "recorded_at": federation._clock.now(),
        "site": embedded.SITE,
        "manager": federation.uri("manager", embedded.MANAGER),
        "agent": federation.uri("agent", AGENT),
        "submitter": federation.uri("submitter", "you"),
        "authority": federation.authority.pem,
        "signers": {
            uri: {"certificate": s.certificate, "key": key_text(s)} for uri, s in federation.signers.items()
        },
        "results": results,
    }


def counted(directory: Path, table: str) -> int:
    """The rows of one of the manager's tables."""
    path = directory / embedded.MANAGER / "caroni.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        ((count,),) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchall()  # noqa: S608
    return int(count)


def key_text(signer: KeySigner) -> str:
    """The private key, PKCS#8 PEM."""
    return signer._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def last_words(federation: Recorded) -> Publish:
    """The submit of one more workflow."""
    now, manager = federation._clock.now(), federation.uri("manager", embedded.MANAGER)
    uri = federation.uri("submitter", "you")
    create = federation.submitter.new_create("quick", {"start": '"of unasked"', "gate": '""'}, name="unasked")
    body = Sealer(federation.signers[uri], uri, "default").seal(
        pack([(bytes([8]) * 16, bytes([8]) * 16, b"", *encode(create))]),
        manager,
        bytes([8]) * 16,
        bytes([8]) * 16,
        b"",
        now,
        1,
        1,
    )
    return Publish(routing_key=manager_key(manager), body=body, message_id="", type="")


def manager_key(uri: str) -> str:
    """Where a manager listens."""
    return f"wf.manager.{short_id(uri)}"


async def publish_trouble(federation: Recorded, bus: Bus) -> None:
    """Send the manager what it must set aside: a role that may not, bytes that are none, nobody's bytes."""
    now, manager = federation._clock.now(), federation.uri("manager", embedded.MANAGER)
    sealer = Sealer(
        federation.signers[federation.uri("agent", AGENT)], federation.uri("agent", AGENT), "default"
    )
    kill = pack([(bytes(range(16)), bytes(16), b"", *encode(JobKill(job_uuid=bytes(range(16)))))])
    broken = Payload(type_url=kill.type_url, value=b"\xff\xff", lifetime=kill.lifetime)
    bodies = [
        sealer.seal(payload, manager, bytes([n]) * 16, b"", b"", now, 1, n)
        for n, payload in enumerate((kill, broken), start=1)
    ]
    for body in (*bodies, b"nobody signs this"):
        await bus.publish(Publish(routing_key=manager_key(manager), body=body, message_id="", type=""))


def dump(database: Path, out: Path) -> None:
    """The database as SQL text."""
    with sqlite3.connect(database) as connection:
        text = "\n".join(connection.iterdump()) + "\n"
    connection.close()
    out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def pack_spool(spool: Path, out: Path) -> None:
    """The spool without what only this host knows."""
    raw = io.BytesIO()

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.add(spool, arcname=".", filter=plain)
    out.write_bytes(gzip.compress(raw.getvalue(), 9, mtime=0))


def record_envelopes(world: dict[str, Any], signers: dict[str, KeySigner]) -> list[dict[str, Any]]:
    """One sealed envelope of each type by whoever may send it, and the odd ones."""
    now = world["recorded_at"]
    records: list[dict[str, Any]] = []

    def seal(name: str, role: str, to: str, messages: list[Any], **options: Any) -> None:
        signer = signers[world[role]]
        number = len(records) + 1
        parts = [(number.to_bytes(16, "big"), bytes([7]) * 16, b"", *encode(m)) for m in messages]
        payload = pack(parts)
        audience = to if "*" in to else world[to]
        body = Sealer(signer, signer.uri, "default").seal(
            payload, audience, number.to_bytes(16, "big"), bytes([7]) * 16, b"", now, 5, number, **options
        )
        receiver = to.split("/")[3] if "*" in to else to
        records.append(
            {
                "name": name,
                "sender": role,
                "receiver": receiver,
                "body": base64.b64encode(body).decode(),
                "messages": [{"type": type(m).__name__, "value": msgspec.to_builtins(m)} for m in messages],
            }
        )

    for kind, rule in RULES.items():
        role = next(r for r in ("agent", "manager", "submitter") if r in rule.roles)
        to = rule.audience or {"agent": "manager", "manager": "agent", "submitter": "manager"}[role]
        message = filled(kind)
        if hasattr(message, "site"):
            message = msgspec.structs.replace(
                message, site=msgspec.structs.replace(message.site, site_identifier=world["site"])
            )
        seal(kind.__name__, role, to, [message])
    several = [msgspec.structs.replace(filled(JobFulfillmentRequest), round=n) for n in range(3)]
    seal("a bundle", "manager", "agent", several)
    seal("a broadcast bundle", "manager", "caroni://*/agent/*", several)
    seal("by fingerprint", "submitter", "manager", [filled(WorkFlowPause)], known_by_recipient=True)
    return records


async def main(out: Path) -> None:
    """Record everything into a directory."""
    with tempfile.TemporaryDirectory() as directory:
        world = await record_databases(Path(directory), out)
    signers = {
        uri: KeySigner(cast("SigningKey", load_pem_private_key(s["key"].encode(), None)), s["certificate"])
        for uri, s in world["signers"].items()
    }
    envelopes = record_envelopes(world, signers)
    (out / "world.json").write_text(json.dumps(world, indent=1) + "\n")
    (out / "envelopes.json").write_text(json.dumps(envelopes, indent=1) + "\n")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(Path(sys.argv[1])))
