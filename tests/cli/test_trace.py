"""``caroni trace``: of real daemons on a private RabbitMQ, from ledgers, live, and from a file elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import environment, process
from tests.cli.test_frame import wait_for
from tests.cli.test_submit import Site
from tests.cli.test_submit import site as _site

site = _site
MANAGER, AGENT = "caroni://c.example/manager/m1", "caroni://c.example/agent/g1"


@pytest.fixture(scope="module")
def ran(site: Site) -> Site:
    """The site has run a workflow, to its last release."""
    done = site.submitter(
        "submit", "text-chain", "--input", "message=he\x1b[2Jllo", "--wait", "--name", "one"
    )
    assert done.code == 0, done.err
    wait_for(lambda: len(site.manager("trace", "one", "--type", "Release", "--json").json) == 3)
    return site


def test_a_step_from_both_sides(ran: Site) -> None:
    found = ran.manager("trace", "one", "--step", "upper", "--json").json
    assert [e["type"] for e in found][:4] == [
        "JobFulfillmentRequest",
        "JobFulfillmentOffer",
        "JobFulfillmentOfferAccept",
        "JobAccepted",
    ]
    assert {(e["workflow_name"], e["step"], e["verdict"]) for e in found} == {("one", "upper", "ok")}
    offer = found[1]
    assert (offer["sender"], offer["receiver"]) == (AGENT, MANAGER)
    assert offer["took"] > 0
    agent = process("trace", "--type", "offer", "--json", "--config", ran.root / "g1", **ran.env).json
    assert {e["job_type"] for e in agent} == {"upper-case", "prepend", "append"}
    job = found[3]["job"]
    of_job = process("trace", "--job", job[:8], "--json", "--config", ran.root / "g1", **ran.env).json
    assert {e["conversation"] for e in of_job} == {offer["conversation"]}
    text = ran.manager("trace", "one").out
    assert "JobFulfillmentOffer" in text
    assert "he\\u001b[2Jllo" in text
    assert "\x1b" not in text


def test_one_message_is_verified_again(ran: Site) -> None:
    data = ran.manager("trace", "one", "--type", "DataAvailable", "--json").json
    sent = next(e for e in data if e["direction"] == "out")
    came = next(e for e in data if e["direction"] == "in")
    text = ran.manager("trace", "--message", came["rev"]).out
    assert "verdict   now: ok, signature good, certificate valid until 20" in text
    assert "when it came: ok" in text
    assert f"from      {AGENT}" in text
    ours = ran.manager("trace", "--message", sent["rev"])
    assert "signature good, our own certificate, valid until 20" in ours.out
    assert "he\\x1b[2Jllo" in ours.out
    shown = ran.manager("trace", "--message", sent["rev"], "--json").json
    assert shown["fields"]["parameters"] == {"message": "he\x1b[2Jllo"}
    assert shown["header"]["audience"] == [AGENT]
    try:
        assert process("trust", "ban", AGENT, "--config", ran.root / "m1").code == 0
        banned = ran.manager("trace", "--message", came["rev"]).out
        assert "now: E_BANNED, signature good, but its signer is banned on this host" in banned
        assert "when it came: ok" in banned
    finally:
        assert process("trust", "unban", AGENT, "--config", ran.root / "m1").code == 0
    assert "there is no message 99999999" in ran.manager("trace", "--message", 99999999).refused()


def test_a_file_is_read_elsewhere(ran: Site) -> None:
    path = ran.root / "one.trace"
    written = ran.manager("trace", "one", "--export", path, "--json").json
    assert written["written"] == len(ran.manager("trace", "one", "--limit", 1000, "--json").json)
    assert "exists already" in ran.manager("trace", "--export", path).refused()
    offers = process("trace", "one", "--file", path, "--type", "OfferAccept", "--json").json
    assert [e["step"] for e in offers] == ["upper", "prepend", "append"]
    elsewhere = ("trace", "--file", path, "--message", offers[0]["rev"], "--config", ran.root / "g1")
    assert "now: ok, signature good, certificate valid" in process(*elsewhere).out
    assert "no workflow 'two'" in process("trace", "two", "--file", path).refused()
    assert "do not go with it" in process("trace", "--file", path, "--follow").refused()
    lines = path.read_bytes().splitlines(keepends=True)
    path.with_suffix(".cut").write_bytes(b"".join(lines[:3]) + lines[3][:100])
    assert "line 4: not a line of a trace" in process("trace", "--file", path.with_suffix(".cut")).refused()


def test_wrong_use(ran: Site) -> None:
    assert "name the workflow" in ran.manager("trace", "--step", "upper").refused()
    assert "one or the other" in ran.manager("trace", "--live", "--follow").refused()
    assert "keeps no ledger" in ran.submitter("trace").refused()
    agent = process("trace", "one", "--config", ran.root / "g1", **ran.env)
    assert "does not know workflows" in agent.refused()
    assert "no messages" in ran.manager("trace", "--failed").err


@pytest.mark.parametrize("how", ["--follow", "--live"])
def test_it_goes_on_with_what_comes(ran: Site, how: str) -> None:
    arguments = ["trace", how, "--json", "--type", "Offer", "--config", str(ran.root / "m1")]
    name = f"more{how}"
    with subprocess.Popen(
        [sys.executable, "-m", "caroni", *arguments],
        env=environment(**ran.env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            if how == "--live":
                assert running.stderr.readline().startswith("connecting to ")
                assert running.stderr.readline() == "listening\n"
            else:
                running.stdout.readline()
            done = ran.submitter("submit", "text-chain", "--input", "message=x", "--wait", "--name", name)
            assert done.code == 0, done.err
            seen: list[dict[str, object]] = []
            while sum(e["workflow_name"] == name for e in seen) < 6:
                seen.append(json.loads(running.stdout.readline()))
            assert {e["verdict"] for e in seen} == {"ok"}
            mine = [e for e in seen if e["workflow_name"] == name]
            assert {e["step"] for e in mine} == {"upper", "prepend", "append"}
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 130
