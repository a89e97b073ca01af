"""Bad input and faults: the daemons stay up, others are unaffected, and somebody is told what happened."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from caroni.core import messages as m
from caroni.core.plan import HOUR, SECOND
from caroni.daemon.ports import Publish
from caroni.daemon.submitter import Rejected
from caroni.services.stores import now
from caroni.trust.authority import CertificateAuthority
from caroni.wire.codec import TYPE_PREFIX, encode
from caroni.wire.topics import topic_of
from tests.acceptance.site import Attacker, Site, definition, lines, sample_inputs, steps
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode
from tests.wire.world import forge

DICE = random.Random(11)

#: job type -> script, output type, what the step's record must say
BAD_JOBS = {
    "garbage": ("head -c 3000 /dev/urandom > outputs.json", "n: int", r"outputs\.json|JSON|UTF-8"),
    "failing": ("echo 'no licence today' >&2; exit 9", "", r"exit code 9"),
    "omitting": ("echo '{}' > outputs.json", "n: int", r"\bn\b"),
    "inventing": ("""echo '{"n": 1, "extra": 2}' > outputs.json""", "n: int", r"extra"),
    "ill-typed": ("""echo '{"n": "one"}' > outputs.json""", "n: int", r"\bn\b"),
    "endless": ("yes 'and so on'", "", r"stdout|output|GiB|MiB|limit"),
}


def some_id() -> bytes:
    return DICE.randbytes(16)


def job_messages_to_agent() -> list[m.Message]:
    """Every message about a job or an offer that nobody knows."""
    job, offer, request = some_id(), some_id(), some_id()
    return [
        m.JobFulfillmentOfferAccept(request_uuid=request, offer_uuid=offer),
        m.JobFulfillmentOfferReject(request_uuid=request, offer_uuid=offer),
        m.JobFulfillmentRequestWithdrawn(request_uuid=request, job_type_name="tidy"),
        m.JobStatusRequest(job_uuid=job),
        m.JobDataAvailable(job_uuid=job, parameters={"text": '"x"'}),
        m.JobKill(job_uuid=some_id()),
        m.JobRelease(job_uuid=job),
        m.JobPause(job_uuid=job),
        m.JobResume(job_uuid=job),
        m.JobLogRequest(job_uuid=job),
        m.JobReportRequest(report_uuid=some_id()),
    ]


def job_messages_to_manager() -> list[m.Message]:
    job, offer, request = some_id(), some_id(), some_id()
    return [
        m.JobFulfillmentDecline(request_uuid=request),
        m.JobFulfillmentOffer(
            request_uuid=request, offer_uuid=offer, site=m.Site(site_identifier="site.example")
        ),
        m.JobFulfillmentOfferWithdrawn(request_uuid=request, offer_uuid=offer),
        m.JobAccepted(job_uuid=job, offer_uuid=offer),
        m.JobStatusUpdate(job_uuid=job, job_status=m.JobStatus.COMPLETED, seq=9, manifest={"a": bytes(32)}),
        m.JobDataAvailable(job_uuid=job, parameters={"text": '"x"'}),
        m.JobReport(
            report_uuid=some_id(),
            jobs=(m.JobReportEntry(job_uuid=job, job_status=m.JobStatus.RUNNING),),
            complete=True,
        ),
    ]


@pytest.fixture(scope="module")
def site(base: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """A manager, an agent with good and bad jobs, a template for each of them."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual("a")
        site.sample("text-chain", ("a", "a"))
        for name, (script, outputs, _) in BAD_JOBS.items():
            site.template("m", name, steps([name], attempts=2 if name == "failing" else 1))
            site.define("a", [definition(name, script, outputs=outputs)])
        site.define("a", [definition("forking", f"setsid sleep 987 & echo $! > '{base}/forked'")])
        site.template("m", "forking", steps(["forking"]))
        site.spawn("m", "a")
        yield site
        assert site.bugs() == []
    finally:
        site.close()


@pytest.fixture
async def attacker(site: Site) -> AsyncIterator[Attacker]:
    async with Attacker(site) as attacker:
        yield attacker


async def all_is_well(site: Site) -> None:
    assert site.alive("m", "a")
    end = await site.run("text-chain", sample_inputs("text-chain"), seconds=40)
    assert end.outputs == {"final_text": '"prepend CARONI ROCKS append"'}
    assert site.alive("m", "a")


async def refusals(site: Site, name: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await site.rows(name, 'SELECT reason, "count" FROM reject_count')}


async def quarantined(site: Site, name: str) -> list[tuple[str, str, str]]:
    return [tuple(r) for r in await site.rows(name, "SELECT kind, sender, reason FROM quarantine")]  # type: ignore[misc]


async def publish(attacker: Attacker, to: str, body: bytes) -> None:
    await attacker.bus.publish(
        Publish(routing_key=topic_of(to), body=body, message_id=some_id().hex(), type="Trouble")
    )


# --- from the broker -----------------------------------------------------------------------------


def bad_envelopes(site: Site, to: str) -> dict[str, bytes]:
    """Code of the refusal -> bytes that deserve it."""
    create = m.WorkFlowCreate(template_name="text-chain", submit_uuid=some_id(), inputs={"message": '"x"'})
    good = {"federation": "default", "audience": [to], "now": now()}
    submitter = site.signer("s")
    stranger = CertificateAuthority.in_memory("site.example", now=now()).issue_key(
        "submitter", "s", now=now()
    )
    signed = forge(submitter, create, **good)
    broken = bytearray(signed)
    at = signed.index(b"caroni://")
    broken[at + 12] ^= 1
    from caroni.wire import caroni_pb2 as pb

    bare = pb.CaroniEnvelope.FromString(signed)
    bare.signature.signator_certificate = bare.signature.payload_signature = ""
    bare.signed_header = b""
    damaged = pb.CaroniEnvelope.FromString(signed)
    damaged.payload.value += b"\x00"
    return {
        "E_PARSE": b"\xff\xfe not an envelope \x00" * 20,
        "E_UNSIGNED": bare.SerializeToString(),
        "E_CHAIN": forge(stranger, create, **good),
        "E_SIG": bytes(broken),
        "E_DIGEST": damaged.SerializeToString(),
        "E_SIZE": b"\x00" * (4 * 1024 * 1024 + 1),
        "E_AUDIENCE": forge(submitter, create, **{**good, "audience": [site.uri("s")]}),
        "E_FEDERATION": forge(submitter, create, **{**good, "federation": "prod"}),
        "E_FUTURE": forge(submitter, create, **{**good, "now": now() + 240 * HOUR}),
    }


@pytest.mark.parametrize("to", ["m", "a"])
async def test_bad_envelopes_are_refused_and_counted(to: str, site: Site, attacker: Attacker) -> None:
    before = await refusals(site, to)
    workflows = await site.rows("m", "SELECT COUNT(*) FROM workflow")
    bad = bad_envelopes(site, site.uri(to))
    for body in bad.values():
        await publish(attacker, site.uri(to), body)

    async def counted() -> bool:
        after = await refusals(site, to)
        return all(after.get(code, 0) == before.get(code, 0) + 1 for code in bad)

    await eventually(counted, 15, lambda: f"not all of {sorted(bad)} are counted")
    said = [line for line in site.log(to) if line["event"] == "message refused"]
    assert {line["code"] for line in said} == set(bad)
    assert all(len(json.dumps(line)) < 600 and line["level"] == "warning" for line in said)
    assert await site.rows("m", "SELECT COUNT(*) FROM workflow") == workflows
    await all_is_well(site)


async def test_a_role_says_what_is_not_its_to_say(site: Site, attacker: Attacker) -> None:
    """Attack 48: an agent sends requests, kills and submits; a submitter sends an offer."""
    agent, submitter = site.signer("a"), site.signer("s")
    offer = m.JobFulfillmentOffer(request_uuid=some_id(), offer_uuid=some_id())
    trouble: list[tuple[str, bytes]] = []
    for message in (
        m.WorkFlowCreate(template_name="text-chain", submit_uuid=some_id(), inputs={"message": '"x"'}),
        m.JobKill(job_uuid=some_id()),
        m.JobFulfillmentRequest(request_uuid=some_id(), job_type_name="tidy"),
    ):
        audience = ["caroni://*/agent/*"] if isinstance(message, m.JobFulfillmentRequest) else [site.uri("a")]
        to = "a" if isinstance(message, m.JobKill | m.JobFulfillmentRequest) else "m"
        if to == "m":
            audience = [site.uri("m")]
        body = forge(agent, message, federation="default", audience=audience, now=now())
        trouble.append((site.uri(to), body))
    trouble.append(
        (
            site.uri("m"),
            forge(submitter, offer, federation="default", audience=[site.uri("m")], now=now()),
        )
    )
    for to, body in trouble:
        await publish(attacker, to, body)

    async def kept() -> bool:
        found = {*(await quarantined(site, "m")), *(await quarantined(site, "a"))}
        return found >= {
            ("WorkFlowCreate", site.uri("a"), "E_ROLE"),
            ("JobKill", site.uri("a"), "E_ROLE"),
            ("JobFulfillmentRequest", site.uri("a"), "E_ROLE"),
            ("JobFulfillmentOffer", site.uri("s"), "E_ROLE"),
        }

    await eventually(kept, 10, "not all are in quarantine")
    await all_is_well(site)


async def test_unknown_ids_in_every_job_message(site: Site, attacker: Attacker) -> None:
    before = {name: len(await quarantined(site, name)) for name in ("m", "a")}
    batches = {"a": ("m", job_messages_to_agent()), "m": ("a", job_messages_to_manager())}
    for to, (sender, messages) in batches.items():
        for message in messages:
            rule = m.JobFulfillmentRequestWithdrawn
            audience = ["caroni://*/agent/*"] if isinstance(message, rule) else [site.uri(to)]
            body = forge(site.signer(sender), message, federation="default", audience=audience, now=now())
            await publish(attacker, site.uri(to), body)
    await all_is_well(site)
    assert {name: len(await quarantined(site, name)) for name in ("m", "a")} == before


async def test_a_value_that_is_too_large_and_one_that_is_no_json(site: Site, attacker: Attacker) -> None:
    big = m.JobDataAvailable(job_uuid=some_id(), parameters={"text": json.dumps("x" * 3_000_000)})
    fine = m.JobDataAvailable(job_uuid=some_id(), parameters={"text": "1234567890"})
    for message in (big, fine):
        type_url, value = encode(message)
        body = forge(
            site.signer("m"),
            type_url=type_url,
            value=value.replace(b"1234567890", b"{'is': no}"),
            federation="default",
            audience=[site.uri("a")],
            now=now(),
        )
        await publish(attacker, site.uri("a"), body)

    async def kept() -> set[str]:
        found = await quarantined(site, "a")
        return {
            reason for kind, sender, reason in found if (kind, sender) == ("JobDataAvailable", site.uri("m"))
        }

    assert await eventually(kept, 10, "nothing is in quarantine") <= {"E_PARSE", "E_LIMIT"}
    await all_is_well(site)


async def test_a_message_from_the_near_future_waits(site: Site, attacker: Attacker) -> None:
    """A sender's clock is further ahead than is allowed: his message has its effect when its time comes."""
    create = m.WorkFlowCreate(
        template_name="text-chain", wf_name="early", submit_uuid=some_id(), inputs={"message": '"x"'}
    )
    skew = site.loaded("m").config.security.skew
    sent_at = now() + skew + 2 * SECOND
    body = forge(site.signer("s"), create, federation="default", audience=[site.uri("m")], now=sent_at)
    await publish(attacker, site.uri("m"), body)
    await all_is_well(site)

    async def created() -> int:
        rows = await site.rows("m", "SELECT created_at FROM workflow WHERE name = ?", "early")
        return rows[0][0] if rows else 0

    assert await eventually(created, 15, "it was never taken") >= sent_at - skew


async def test_a_message_that_is_no_message(site: Site, attacker: Attacker) -> None:
    """Correctly signed by a trusted peer, and still not a message of ours, or damaged inside."""
    for kind, value in (
        ("NoSuchThing", b"\x0a\x01x"),
        ("WorkFlowCreate", b"\xff\xff\xff\xff"),
        ("Bundle", b"\x0a\xff"),
    ):
        body = forge(
            site.signer("s"),
            type_url=TYPE_PREFIX + kind,
            value=value,
            federation="default",
            audience=[site.uri("m")],
            now=now(),
        )
        await publish(attacker, site.uri("m"), body)

    async def kept() -> bool:
        return (
            sum(
                1
                for _, sender, reason in await quarantined(site, "m")
                if sender == site.uri("s") and reason in ("E_TYPE", "E_PARSE")
            )
            >= 3
        )

    await eventually(kept, 10, "not all are in quarantine")
    await all_is_well(site)


# --- from submitters and jobs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "inputs", "says"),
    [
        ("no-such-template", {}, "no template is named no-such-template"),
        ("text-chain", {}, "message"),
        ("text-chain", {"message": "17"}, "message"),
        ("text-chain", {"message": '"x"', "colour": '"red"'}, "colour"),
    ],
)
async def test_submits_that_cannot_be_taken(
    template: str, inputs: dict[str, str], says: str, site: Site
) -> None:
    async with site.submitter() as submitter:
        with pytest.raises(Rejected, match=says) as refusal:
            await submitter.submit(submitter.new_create(template, inputs))
    assert "\n" not in str(refusal.value)
    assert site.alive("m", "a")


@pytest.mark.parametrize("name", BAD_JOBS)
async def test_bad_jobs_fail_their_workflow_and_nothing_else(name: str, site: Site) -> None:
    end = await site.run(name, seconds=60)
    (summary,) = end.workflows
    says = BAD_JOBS[name][2]
    assert summary.state == "failed"
    assert re.search(says, summary.failure), summary.failure
    assert "\n" not in summary.failure
    ((state, attempt, failure, code, stderr),) = await site.rows(
        "m",
        "SELECT state, attempt, failure, exit_code, stderr_tail FROM step WHERE workflow_uuid = ?",
        summary.workflow_uuid.hex(),
    )
    assert state == "failed"
    assert re.search(says, failure)
    if name == "failing":
        assert (attempt, code, stderr) == (2, 9, "no licence today\n")
    await all_is_well(site)


async def test_what_a_job_forks_does_not_outlive_it(site: Site, base: Path) -> None:
    end = await site.run("forking")
    assert end.workflows[0].state == "completed"
    assert not psutil.pid_exists(int((base / "forked").read_text()))


# --- from below ------------------------------------------------------------------------------------


async def test_databases_locked_while_messages_arrive(site: Site) -> None:
    """Another writer holds the locks; what arrives meanwhile is taken when it lets go."""
    create = sample_inputs("text-chain")
    seen = {name: len(site.log(name)) for name in ("m", "a")}

    def troubled(name: str) -> bool:
        return any(
            line.get("event", "").startswith("database trouble") for line in site.log(name)[seen[name] :]
        )

    async with site.submitter() as submitter:
        locks = [lock(site, "a")]
        first = await submitter.submit(submitter.new_create("text-chain", create))
        locks.append(lock(site, "m"))
        second = asyncio.create_task(submitter.submit(submitter.new_create("text-chain", create), 60))
        # longer than a daemon waits for a lock in one go
        await eventually(lambda: troubled("m") and troubled("a"), 40, "the daemons have not met the locks")
        assert site.alive("m", "a")
        for one in locks:
            one.execute("ROLLBACK")
            one.close()
        for created in (first, await second):
            assert await site.ended(created.workflow_uuid) == "completed"
    await all_is_well(site)


def lock(site: Site, name: str) -> sqlite3.Connection:
    """Hold the write lock of a daemon's database."""
    connection = sqlite3.connect(site.directory(name) / "caroni.db", isolation_level=None, timeout=20)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def run_daemon(site: Site, name: str, **settings: str) -> subprocess.CompletedProcess[str]:
    site.spawn(name, wait=False, **settings)
    process = site.processes.pop(name)
    before = process.wait(30)
    text = (site.base / f"{name}.log").read_text()
    return subprocess.CompletedProcess([], before, text.splitlines()[-1], "")


def test_a_second_daemon_on_one_directory_is_refused(site: Site) -> None:
    running = site.processes["m"]
    size = len((site.base / "m.log").read_text().splitlines())
    done = run_daemon(site, "m")
    site.processes["m"] = running
    assert done.returncode == 2
    assert "runs already" in done.stdout
    assert len((site.base / "m.log").read_text().splitlines()) == size + 1
    assert site.alive("m")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660])
def test_a_key_that_others_can_read_is_refused(mode: int, site: Site) -> None:
    site.terminate("a")
    key = site.directory("a") / "identity.key"
    try:
        key.chmod(mode)
        size = len((site.base / "a.log").read_text().splitlines())
        done = run_daemon(site, "a")
        assert done.returncode == 2
        assert "identity.key" in done.stdout
        assert "chmod" in done.stdout or "0600" in done.stdout
        assert len((site.base / "a.log").read_text().splitlines()) == size + 1
    finally:
        key.chmod(0o600)
        site.spawn("a")


async def test_broker_absent_at_start_and_gone_while_running(site: Site, rabbit_node: RabbitNode) -> None:
    site.terminate("m")
    site.terminate("a")
    await asyncio.to_thread(rabbit_node.kill9)
    try:
        await asyncio.to_thread(site.spawn, "m", "a")
    finally:
        await asyncio.to_thread(rabbit_node.start)
    await all_is_well(site)
    async with site.submitter() as submitter:
        create = submitter.new_create("text-chain", sample_inputs("text-chain"))
        created = await submitter.submit(create)
        await asyncio.to_thread(rabbit_node.kill9)
        assert site.alive("m", "a")
        await asyncio.to_thread(rabbit_node.start)
        assert await site.ended(created.workflow_uuid) == "completed"
    await all_is_well(site)


# --- a full disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    tmp_path.chmod(0o700)
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "caroni-test", str(mount)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize("full", ["m", "a"])
async def test_disk_full_and_freed_again(
    full: str, small_disk: Path, tmp_path: Path, rabbit_node: RabbitNode
) -> None:
    """Everything of one daemon is on a small disk, which somebody fills while a workflow runs."""
    go, marks = tmp_path / "go", tmp_path / "marks"
    first = definition("first", f"echo x >> '{marks}'; until [ -e '{go}' ]; do sleep 0.05; done")
    chain = steps(["first", *["later"] * 20])

    def make() -> Site:
        site = Site(tmp_path, rabbit_node.url(rabbit_node.vhost()))
        site.make("manager", "m", base=small_disk if full == "m" else None)
        site.make("agent", "a", base=small_disk if full == "a" else None)
        site.make("submitter", "s")
        site.define("a", [first, definition("later", "true")])
        site.template("m", "chain", chain)
        site.settings["CARONI_AGENT__SLOTS"] = "1"
        site.settings["CARONI_LIMITS__DISK_RESERVE"] = "0B"
        site.spawn("m", "a")
        return site

    site = await asyncio.to_thread(make)
    try:
        async with site.submitter() as submitter:
            created = await submitter.submit(submitter.new_create("chain", {}))
        await eventually(lambda: lines(marks), 20)
        _fill(small_disk / "ballast")
        go.touch()
        await eventually(
            lambda: any("trouble" in line.get("event", "") for line in site.log(full)),
            30,
            "the daemon has not met the full disk",
        )
        assert site.alive("m", "a")
        (small_disk / "ballast").unlink()
        # a job that could not be started or stored for want of space may have used up its attempts
        assert await site.ended(created.workflow_uuid, 60) == "completed"
        assert site.alive("m", "a")
        assert site.bugs() == []
    finally:
        go.touch()
        await asyncio.to_thread(site.close)


def test_a_start_on_a_full_disk_is_to_be_tried_again(
    small_disk: Path, tmp_path: Path, rabbit_node: RabbitNode
) -> None:
    """A supervisor does not start again what ends with 2: that would be for ever."""
    site = Site(tmp_path, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make("agent", "a", base=small_disk)
        _fill(small_disk / "ballast")
        site.spawn("a", wait=False)
        process = site.processes.pop("a")
        assert process.wait(30) == 1
        last = site.log("a")[-1]["text"]
        assert "No space left" in last
        (small_disk / "ballast").unlink()
        site.spawn("a")
        assert site.terminate("a") == 0
        assert site.bugs() == []
    finally:
        site.close()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        for size in (65536, 4096, 512):
            try:
                while True:
                    ballast.write(b"\x00" * size)
            except OSError:
                continue
