"""A manager's site whose ledger holds real sealed conversations, each signed by its own key."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from caroni.config import load_config
from caroni.core.messages import (
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentRequest,
    JobRelease,
    JobStatus,
    JobStatusUpdate,
    Message,
)
from caroni.core.rows import Request, Row, Step, Workflow
from caroni.core.states import RequestState, StepState, WorkflowState
from caroni.model.unit import LedgerItem, LedgerRow, Unit
from caroni.services.authority import init_ca
from caroni.services.setup import make_directory
from caroni.services.tapping import Tapped
from caroni.trust.keys import KeySigner, load_signer
from caroni.tui.site import Site
from caroni.wire.bundle import Part, pack
from caroni.wire.codec import encode
from caroni.wire.sealing import Sealer
from tests.tui.harness import fill

MANAGER, AGENT, OTHER = (
    "caroni://a.example/manager/m1",
    "caroni://a.example/agent/g1",
    "caroni://a.example/agent/g2",
)
ALL = "caroni://*/agent/*"
FLOW = bytes([0xF1]) * 16
HOSTILE = "\x1b[2J\x1b]0;x\x07[red]no\u202e"


#: the directories with their keys, made once and copied
_made: list[Path] = []


class Conversations:
    """Makes rows of a ledger, and what a tap brings."""

    def __init__(self, signers: dict[str, KeySigner]) -> None:
        self._signers = signers
        self._dice = random.Random(5)
        #: when the last message was; a full second at first
        self.at = self.start = int(time.time()) * 1_000_000
        self._sequence = 0

    def id(self) -> bytes:
        return self._dice.randbytes(16)

    def seal(self, sender: str, receiver: str, message: Message, talk: bytes, id: bytes) -> bytes:
        self._sequence += 1
        sealer = Sealer(self._signers[sender], sender, "")
        part = Part(id, talk, b"", *encode(message))
        return sealer.seal(pack([part]), receiver, id, talk, b"", self.at, 7, self._sequence)

    def row(
        self, sender: str, receiver: str, message: Message, talk: bytes, after: int = 20_000
    ) -> LedgerRow:
        """One message, so many microseconds after the one before."""
        self.at += after
        id, outgoing = self.id(), sender == MANAGER
        return LedgerRow(
            direction="out" if outgoing else "in",
            peer=receiver if outgoing else sender,
            message_id=id,
            payload_type=type(message).__name__,
            fingerprint=self._signers[sender].fingerprint.hex(),
            envelope=self.seal(sender, receiver, message, talk, id),
            at=self.at,
            items=(
                LedgerItem(
                    type=type(message).__name__,
                    conversation_id=talk,
                    request_uuid=getattr(message, "request_uuid", b""),
                    offer_uuid=getattr(message, "offer_uuid", b""),
                    job_uuid=getattr(message, "job_uuid", b""),
                ),
            ),
        )

    def tapped(self, sender: str, receiver: str, message: Message, talk: bytes) -> Tapped:
        """The same, as it passes the broker."""
        self.at += 1000
        return Tapped(
            at=self.at, routing_key="wf.x", body=self.seal(sender, receiver, message, talk, self.id())
        )

    def handshake(self, talk: bytes, *, says: str = "") -> list[LedgerRow]:
        """One attempt of one step, from the call to the release."""
        offer, job = self.id(), self.id()
        ask = dict(request_uuid=talk)
        return [
            self.row(MANAGER, ALL, JobFulfillmentRequest(**ask, job_type_name="align", round=1), talk),
            self.row(OTHER, MANAGER, JobFulfillmentDecline(**ask, decline_message=f"busy{says}"), talk),
            self.row(
                AGENT, MANAGER, JobFulfillmentOffer(**ask, offer_uuid=offer, ttl=60_000_000), talk, 139_000
            ),
            self.row(MANAGER, AGENT, JobFulfillmentOfferAccept(**ask, offer_uuid=offer), talk),
            self.row(AGENT, MANAGER, JobAccepted(job_uuid=job, offer_uuid=offer), talk),
            self.row(MANAGER, AGENT, JobDataAvailable(job_uuid=job, parameters={"reads": '"r.fq"'}), talk),
            self.row(AGENT, MANAGER, JobStatusUpdate(job_uuid=job, job_status=JobStatus.RUNNING), talk),
            self.row(AGENT, MANAGER, JobStatusUpdate(job_uuid=job, job_status=JobStatus.COMPLETED), talk),
            self.row(MANAGER, AGENT, JobRelease(job_uuid=job), talk),
        ]  # fmt: skip


async def traced_site(directory: Path, steps: int = 3, **options: bool) -> tuple[Site, Conversations]:
    """A manager with certificate and trust, and a workflow whose steps have each had a conversation."""
    if not _made or not _made[0].exists():
        _made.clear()
        first = directory / "first"
        first.mkdir()
        init_ca(first / "ca", "a.example", None, years=1)
        for role, name in (("manager", "m1"), ("agent", "g1"), ("agent", "g2")):
            await make_directory(role, first / name, site="a.example", name=name, ca=first / "ca")
        _made.append(first)
    for name in ("m1", "g1", "g2"):
        shutil.copytree(_made[0] / name, directory / name)
    signers = {}
    for name in ("m1", "g1", "g2"):
        security = load_config(directory / name).config.security
        signer = load_signer(security.key_file, security.certificate_file)
        signers[signer.uri] = signer
    talks = Conversations(signers)
    site = Site(load_config(directory / "m1"), **options)
    rows: dict[type[Row], list[Row]] = {Workflow: [], Step: [], Request: []}
    rows[Workflow].append(
        Workflow(workflow_uuid=FLOW, state=WorkflowState.RUNNING, name="nightly", template="t", revision=1)
    )
    ledger: list[LedgerRow] = []
    for index in range(steps):
        talk = talks.id()
        rows[Step].append(
            Step(workflow_uuid=FLOW, index=index, name=f"step{index}", job_type="align",
                 state=StepState.COMPLETED)
        )  # fmt: skip
        rows[Request].append(
            Request(request_uuid=talk, workflow_uuid=FLOW, step_index=index, attempt=1 + index % 2,
                    state=RequestState.FULFILLED)
        )  # fmt: skip
        ledger += talks.handshake(talk)
    certificates = {s.fingerprint.hex(): s.certificate for s in signers.values()}
    await fill(site, Unit(rows=rows, ledger=ledger, certificates=certificates, now=talks.start))
    return site, talks
