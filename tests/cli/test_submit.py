"""``caroni submit``, ``watch`` and a submitter's queries: real daemons on a private RabbitMQ."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from caroni.cli import main
from caroni.services.unsent import Unsent
from tests.cli.conftest import SAMPLES, Result, environment, process
from tests.cli.test_frame import wait_for

CHAIN = SAMPLES / "text-chain"
MANAGER = "caroni://c.example/manager/m1"


class Site:
    """A manager, an agent and a submitter of one site on one broker."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.env = {"CARONI_AMQP__URL": url}
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, name: str) -> None:
        with (self.root / f"{name}.log").open("ab") as log:
            self.running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "caroni", role, "--config", str(self.root / name)],
                    env=environment(**self.env),
                    stdout=log,
                    stderr=log,
                )
            )

    def submitter(self, command: str, *arguments: object, **env: str) -> Result:
        return process(command, *arguments, "--config", self.root / "s1", **{**self.env, **env})

    def manager(self, command: str, *arguments: object) -> Result:
        return process(command, *arguments, "--config", self.root / "m1", **self.env)

    def unsent(self) -> list[Path]:
        return sorted((self.root / "s1" / "unsent").glob("*.json"))


@pytest.fixture(scope="module")
def site(rabbit_node, tmp_path_factory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    made = ("--site", "c.example", "--ca", root / "ca")
    for arguments in (
        ("pki", "init-ca", root / "ca", "--site", "c.example", "--no-passphrase"),
        ("init", "manager", root / "m1", "--name", "m1", *made),
        ("init", "agent", root / "g1", "--name", "g1", *made),
        ("init", "submitter", root / "s1", "--name", "s1", "--manager", MANAGER, *made),
        ("template", "add", CHAIN / "workflow.cwl", "--config", root / "m1"),
        ("template", "add", SAMPLES / "second-chance" / "workflow.cwl", "--config", root / "m1"),
        ("job", "add", *CHAIN.glob("jobs/*/*.yml"), "--config", root / "g1"),
        (
            "job",
            "add",
            SAMPLES / "second-chance" / "jobs" / "flaky" / "forecast.yml",
            "--config",
            root / "g1",
        ),
    ):
        assert main([str(a) for a in arguments]) == 0
    site = Site(root, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.start("manager", "m1")
        site.start("agent", "g1")
        wait_for(lambda: b"started" in (root / "m1.log").read_bytes())
        yield site
    finally:
        for one in site.running:
            one.send_signal(signal.SIGTERM)
        for one in site.running:
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def test_wait_prints_the_outputs(site):
    result = site.submitter("submit", "text-chain", "--input", "message=hello", "--wait", "--name", "first")
    assert result.json == {"final_text": "prepend HELLO append"}
    assert "workflow first  completed" in result.err
    assert site.unsent() == []
    # the same from either side
    (listed,) = [w for w in site.submitter("list", "--json").json if w["name"] == "first"]
    assert listed["state"] == "completed"
    assert site.manager("show", "first", "--json").json["workflow"] == listed["workflow"]
    assert len(site.submitter("show", listed["workflow"][:8], "--json").json["step_list"]) == 3
    assert site.submitter("outputs", "first").json == result.json
    assert "there is no workflow" in site.submitter("show", "nothing").refused()


def test_an_id_and_then_watch(site):
    inputs = site.root / "inputs.yml"
    inputs.write_text("message: watched\n")
    id = site.submitter("submit", "text-chain", "--inputs", inputs, "--name", "second").out.strip()
    assert len(bytes.fromhex(id)) == 16
    assert site.submitter("watch", id, "--quiet").code == 0
    seen = site.submitter("watch", "second", "--json")
    assert seen.code == 0, seen.err
    assert json.loads(seen.out.splitlines()[-1])["state"] == "completed"
    watched = site.manager("watch", id)
    assert watched.code == 0
    assert "completed   agent c.example/g1" in watched.err


def test_a_rejected_and_a_failed_workflow(site):
    assert "nothing-like-it" in site.submitter("submit", "nothing-like-it").refused(1)
    assert "message" in site.submitter("submit", "text-chain").refused(1)
    assert "no queue" in site.submitter("submit", "x", "--manager", "caroni://c.example/manager/no").refused(
        1
    )
    assert "--manager" in site.submitter("submit", "x", "--manager", "m1").refused()
    assert site.unsent() == []


def test_a_managers_operator_submits_without_broker_or_submitter(site):
    nowhere = {"CARONI_AMQP__URL": "amqp://127.0.0.1:1/"}
    m1 = ("--config", site.root / "m1")
    result = process(
        "submit", "text-chain", "-i", "message=here", "--wait", "--name", "local", *m1, **nowhere
    )
    assert result.json == {"final_text": "prepend HERE append"}
    assert "workflow local  completed" in result.err
    shown = site.manager("show", "local", "--json").json
    assert shown["submitter"] == MANAGER
    # it is nobody's at the broker
    assert "local" not in [w["name"] for w in site.submitter("list", "--json").json]

    begun = site.manager("submit", "text-chain", "-i", "message=one", "--json").json
    assert begun == {"workflow": begun["workflow"], "name": "text-chain", "revision": 1}
    assert site.manager("watch", begun["workflow"], "--quiet").code == 0
    waited = site.manager("submit", "text-chain", "-i", "message=two", "--wait", "--json").json
    assert (waited["state"], len(waited["steps"])) == ("completed", 3)


def test_a_managers_operator_hears_what_a_submitter_hears(site):
    for arguments in (("nothing-like-it",), ("text-chain",), ("text-chain", "-i", "mesage=x")):
        here = site.manager("submit", *arguments).refused(1)
        assert here == site.submitter("submit", *arguments).refused(1)
    other = ("--manager", "caroni://c.example/manager/m2")
    assert "itself" in site.manager("submit", "text-chain", *other).refused()
    assert "of a submitter" in site.manager("submit", "--flush").refused()
    assert "larger than" in _too_large(site).refused()


def _too_large(site):
    inputs = site.root / "large.json"
    inputs.write_text(json.dumps({"message": "x" * (3 * 1024 * 1024 + 1)}))
    return site.manager("submit", "text-chain", "--inputs", inputs)


def test_a_workflow_that_takes_longer_goes_on(site):
    late = site.submitter("submit", "second-chance", "-i", "island=Tobago", "--wait", "--timeout", "3", "-q")
    assert "goes on" in late.refused(1)


def test_what_cannot_be_sent_is_kept_and_goes_first(site):
    offline = {"CARONI_AMQP__URL": "amqp://127.0.0.1:1/"}
    kept = site.submitter(
        "submit", "text-chain", "-i", "message=late", "--name", "kept", "--timeout", 1, **offline
    )
    assert kept.code == 0
    assert kept.out == ""
    assert "caroni submit --flush" in kept.err
    (path,) = site.unsent()
    assert path.stat().st_mode & 0o777 == 0o600
    one = path.read_bytes()
    assert msgspec.json.decode(one, type=Unsent).create.wf_name == "kept"
    still = site.submitter("submit", "--flush", "--timeout", 1, **offline)
    assert still.code == 1
    assert site.unsent() == [path]

    sent = site.submitter("submit", "text-chain", "-i", "message=now", "--wait", "--name", "after")
    assert sent.json == {"final_text": "prepend NOW append"}
    assert "kept request kept was sent" in sent.err
    assert site.unsent() == []
    # the crash between the answer and the removal: sent once more, and still one workflow
    path.write_bytes(one)
    path.chmod(0o600)
    again = site.submitter("submit", "--flush", "--json").json
    assert [s["name"] for s in again["sent"]] == ["kept"]
    assert [w["name"] for w in site.submitter("list", "--json").json].count("kept") == 1
