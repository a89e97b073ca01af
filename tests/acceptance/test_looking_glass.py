"""What an operator sees of daemons that run, and does to their databases: by the commands that he types."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caroni.config import Loaded, database_url
from caroni.core.messages import PresenceState
from caroni.core.rows import Peer
from caroni.model.unit import QuarantineRow, Unit
from caroni.services.stores import now
from tests.acceptance.site import Site, definition, steps
from tests.cli.conftest import Caroni, caroni  # noqa: F401 (a fixture)
from tests.model.databases import DIALECT
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode

Asked = Callable[..., Any]

pytestmark = pytest.mark.database

BAD = [("JobOfTomorrow", "E_TYPE", b"\x00\xff"), ("JobKill", "E_ROLE", b""), ("envelope", "POISON", b"x")]


@pytest.fixture(scope="module")
def site(base: Path, rabbit_node: RabbitNode, new_database: Callable[[], dict[str, Any]]) -> Iterator[Site]:
    """A manager and an agent with one slot, which run."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual("a", **{name: new_database() for name in ("m", "a")})
        site.settings["CARONI_AGENT__SLOTS"] = "1"
        site.define("a", [definition("wait", f"until [ -e '{base}/go' ]; do sleep 0.05; done")])
        site.template("m", "wait", steps(["wait", "wait"]))
        site.template("m", "alone", steps(["nobody-has-this"]))
        site.spawn("m", "a")
        yield site
        assert site.bugs() == []
    finally:
        (base / "go").touch()
        site.close()


@pytest.fixture
def ask(site: Site, caroni: Caroni) -> Asked:  # noqa: F811
    """A command of somebody, as JSON unless it is to be read by people."""

    def run(whose: str, *words: object, code: int = 0, json: bool = True) -> Any:
        more = ["--json"] if json else []
        if whose == "s" and words[0] != "doctor":
            more += ["--manager", site.uri("m")]
        done = caroni(*words, *more, "--config", site.directory(whose))
        assert done.code == code, (words, done)
        return done.json if json and code == 0 else done

    return run


def submit(site: Site, template: str) -> str:
    async def run() -> bytes:
        async with site.submitter() as submitter:
            return (await submitter.submit(submitter.new_create(template, {}))).workflow_uuid

    return asyncio.run(run()).hex()


def put_back(loaded: Loaded, copy: Path) -> None:
    """As docs/operations.md says."""
    if DIALECT == "postgresql":
        program = shutil.which("pg_restore") or max(Path("/usr/lib/postgresql").glob("*/bin/pg_restore"))
        url = database_url(loaded).replace("postgres://", "postgresql://")
        subprocess.run([program, "--clean", "--if-exists", "--no-owner", "-d", url, copy], check=True)
        return
    for name in ("caroni.db", "caroni.db-wal", "caroni.db-shm"):
        (loaded.directory / name).unlink(missing_ok=True)
    shutil.copyfile(copy, loaded.directory / "caroni.db")
    (loaded.directory / "caroni.db").chmod(0o600)


def test_explained_to_manager_and_submitter(site: Site, base: Path, ask: Asked) -> None:
    flow = submit(site, "wait")

    async def one_runs() -> bool:
        rows = await site.rows("m", "SELECT state FROM job")
        return sorted(row[0] for row in rows) == ["queued", "running"]

    asyncio.run(eventually(one_runs, 30, "no job runs"))
    found = ask("m", "explain", flow)
    assert found["why"] == "it is under way: 0 of 2 steps done"
    assert found["notes"] == []
    runs, waits = [
        next(s for s in found["steps"] if s["works"]["state"] == state) for state in ("running", "queued")
    ]
    assert runs["why"].startswith(f"runs on {site.uri('a')} for ")
    assert runs["works"]["promise"] == "lost_after"
    assert runs["works"]["reported_at"] > runs["works"]["accepted_at"] > 0
    assert runs["next"].startswith("asks ")
    assert waits["why"].startswith(f"is in the queue of {site.uri('a')}")
    shown = ask("m", "explain", flow, runs["step"], json=False).out
    assert f"step {runs['step']} (wait, attempt 1): runs on" in shown
    assert "if it stays silent it is given up in 3" in shown
    told = ask("s", "explain", flow)
    assert told["state"] == "running"
    assert told["explanation"][0] == f"workflow {flow[:12]} wait: it is under way: 0 of 2 steps done"
    assert any(line.startswith(f"step {runs['step']} (wait") for line in told["explanation"])
    one = ask("s", "explain", flow, waits["step"], json=False).out
    assert "is in the queue of" in one
    assert "runs on" not in one
    assert "says nothing of a step" in ask("s", "explain", flow, "nowhere", code=2, json=False).err
    # jobs, on both sides
    here = ask("a", "jobs")
    assert [(job["state"], job["position"]) for job in here] == [("running", 0), ("queued", 1)]
    there = ask("m", "jobs", flow)
    assert {job["job"] for job in there} == {job["job"] for job in here}
    assert {job["step"] for job in there} == {"s0", "s1"}
    # peers, on both sides
    (agent,) = [peer for peer in ask("m", "peers") if peer["role"] == "agent"]
    # it says so once a minute, and may have said it before the manager listened
    assert agent["presence"] in ("online", "unknown")
    assert (agent["gaps"], agent["jobs"]) == (0, {"queued": 1, "running": 1})
    (manager,) = ask("a", "peers")
    assert manager["uri"] == site.uri("m")
    assert site.uri("a") in ask("m", "peers", json=False).out
    (base / "go").touch()
    assert asyncio.run(site.ended(bytes.fromhex(flow))) == "completed"
    assert ask("m", "explain", flow)["why"] == "it is completed"


def test_nobody_has_the_job_type(site: Site, ask: Asked) -> None:
    flow = submit(site, "alone")

    async def unheard() -> bool:
        return bool(await site.rows("m", "SELECT 1 FROM request WHERE unheard AND workflow_uuid = ?", flow))

    asyncio.run(eventually(unheard, 30, "the broker has not said that nobody is bound"))
    (step,) = ask("m", "explain", flow)["steps"]
    assert step["why"] == "no agent has job type nobody-has-this: nobody is bound to it at the broker"
    ask("m", "cancel", flow)


def test_all_is_well(site: Site, ask: Asked) -> None:
    for whose in ("m", "a", "s"):
        found = {check["name"]: check for check in ask(whose, "doctor")}
        assert {name for name, check in found.items() if check["state"] == "problem"} == set()
        assert found["permissions"]["state"] == "ok", found["permissions"]
        assert "RabbitMQ 3" in found["broker"]["text"] or "RabbitMQ 4" in found["broker"]["text"]
        assert found["broker version"]["state"] == "ok"
        if whose != "s":
            assert found["daemon"]["state"] == found["queue"]["state"] == "ok"
            assert found["clocks"]["state"] == found["database"]["state"] == "ok"
    assert "ok       broker: 127.0.0.1:" in ask("m", "doctor", json=False).out


def test_quarantine_of_a_running_daemon(site: Site, ask: Asked) -> None:
    async def put_aside() -> None:
        rows = [
            QuarantineRow(
                key=bytes([n]) * 16, kind=kind, body=body, sender="caroni://x.example/agent/\x1b[2Jx",
                reason=reason, error="no \x1b[2J good", first_at=1, last_at=now(),
            )
            for n, (kind, reason, body) in enumerate(BAD)
        ]  # fmt: skip
        async with site.store("m", read_only=False) as store:
            await store.commit(Unit(now=1, quarantine=rows))

    asyncio.run(put_aside())
    shown = ask("m", "quarantine", "list", json=False).out
    assert "\x1b" not in shown
    assert "no \\x1b[2J good" in shown
    assert len(ask("m", "quarantine", "list", "--reason", "E_TYPE")) == 1
    content = ask("m", "quarantine", "show", "0000", json=False)
    assert "\x1b" not in content.out
    assert "begins (base64): AP8=" in content.out
    assert ask("m", "quarantine", "show", "0202")["error"] == "it cannot be parsed"
    done = ask("m", "quarantine", "replay", "--all", json=False, code=1)
    assert "0 tried again and taken, 3 refused again" in done.out
    assert "nothing was taken" in done.err
    assert {row["tries"] for row in ask("m", "quarantine", "list")} == {2}
    assert ask("m", "quarantine", "drop", "0101")["done"] == 1
    assert ask("m", "quarantine", "drop", "--all")["done"] == 2
    assert ask("m", "quarantine", "list") == []
    assert "there is nothing '0101'" in ask("m", "quarantine", "drop", "0101", code=2, json=False).err
    assert "name rows by their keys" in ask("m", "quarantine", "drop", code=2, json=False).err


def test_pruned_by_the_daemon_and_without_it(site: Site, ask: Asked) -> None:
    async def old() -> None:
        for whose in ("m", "a"):
            rows = [QuarantineRow(key=bytes([n]) * 16, kind="x", first_at=1, last_at=1) for n in range(3)]
            async with site.store(whose, read_only=False) as store:
                await store.commit(Unit(now=1, quarantine=rows, suspects={b"s" * 16: 1}))

    asyncio.run(old())
    stage = site.directory("a") / "stage" / ("ab" * 16)
    stage.mkdir(parents=True)
    (stage / "file").write_text("left")
    os.utime(stage, (1, 1))
    would = ask("a", "prune", "--dry-run")
    assert (would["by"], would["counts"]["quarantine"], would["counts"]["suspects"]) == ("nobody", 3, 1)
    assert would["counts"]["staged"] == 1
    assert stage.exists()
    gone = ask("a", "prune")
    assert (gone["by"], gone["counts"]["quarantine"], gone["counts"]["staged"]) == ("daemon", 3, 1)
    assert not stage.exists()
    assert site.terminate("m") == 0
    try:
        gone = ask("m", "prune")
        assert (gone["by"], gone["counts"]["quarantine"], gone["counts"]["suspects"]) == ("here", 3, 1)
        assert "nothing is past its time" in ask("m", "prune", json=False).err
    finally:
        site.spawn("m")


def test_a_copy_is_put_back(site: Site, base: Path, ask: Asked) -> None:
    (base / "go").unlink(missing_ok=True)
    copy = base / "copy.db"
    made = ask("m", "db", "backup", copy)
    assert made["size"] == copy.stat().st_size > 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "exists" in ask("m", "db", "backup", copy, code=2, json=False).err
    assert "runs: stop it first" in ask("m", "db", "restored", code=2, json=False).err
    forgotten = submit(site, "wait")

    async def runs() -> bool:
        return bool(await site.rows("a", "SELECT 1 FROM agent_job WHERE state = 'running'"))

    asyncio.run(eventually(runs, 30, "no job runs"))
    assert site.terminate("m") == 0
    put_back(site.loaded("m"), copy)
    told = ask("m", "db", "restored")
    assert told["hold"] > 0
    restore = next(c for c in ask("m", "doctor", "--no-broker") if c["name"] == "restore")
    assert restore["state"] == "warning"
    site.spawn("m")

    async def orphaned() -> bool:
        return bool(await site.rows("m", "SELECT 1 FROM orphan WHERE due > 0"))

    asyncio.run(eventually(orphaned, 30, "the job that is not known is not shown"))
    assert "there is no workflow" in ask("m", "show", forgotten, code=2, json=False).err
    orphan = next(job for job in ask("m", "jobs") if job["state"] == "orphan")
    assert orphan["agent"] == site.uri("a")
    restore = next(c for c in ask("m", "doctor", "--no-broker") if c["name"] == "restore")
    assert "orphan" in restore["text"]
    ask("m", "kill", orphan["job"], "--no-wait")
    (base / "go").touch()


def test_what_is_wrong(site: Site, ask: Asked) -> None:
    async def trouble() -> None:
        lost = Peer(
            uri="caroni://x.example/agent/gone", last_contact=1, gaps=3, rolled_back_at=now(),
            presence=PresenceState.ONLINE,
        )  # fmt: skip
        bad = QuarantineRow(key=b"q" * 16, kind="workflow", reason="UNREADABLE", first_at=1, last_at=now())
        async with site.store("m", read_only=False) as store:
            await store.commit(Unit(now=1, rows={Peer: [lost]}, quarantine=[bad]))

    assert site.terminate("m") == 0
    asyncio.run(trouble())
    os.utime(site.directory("m") / "caroni.lock")
    done = ask("m", "doctor", code=1, json=False)
    assert "warning  daemon: the manager does not run" in done.out
    assert "warning  gaps: sequence numbers that never came: " in done.out
    assert "caroni://x.example/agent/gone (3)" in done.out
    assert "warning  put back: " in done.out
    assert "problem  quarantine: UNREADABLE 1" in done.out
    assert "         -> caroni quarantine list" in done.out
    toml = site.directory("m") / "caroni.toml"
    text = toml.read_text()
    toml.write_text(text.replace(site.url, "amqp://guest:guest@127.0.0.1:1/"))
    try:
        broken = ask("m", "doctor", code=1, json=False).out
        assert "problem  broker: cannot reach 127.0.0.1:1" in broken
        (site.directory("m") / "identity.crt").rename(site.directory("m") / "away.crt")
        assert "problem  certificate: " in ask("m", "doctor", "--no-broker", code=1, json=False).out
    finally:
        toml.write_text(text)
        (site.directory("m") / "away.crt").rename(site.directory("m") / "identity.crt")
        site.spawn("m")
