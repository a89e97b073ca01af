"""A manager and an agent whose every certificate, id and instant is fixed: the same pictures each time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caroni.config import load_config
from caroni.core.messages import PresenceState
from caroni.core.rows import Peer, Row
from caroni.model.unit import QuarantineRow, Unit
from caroni.services import definitions, templates
from caroni.tui.site import Site
from tests.tui import conversations, jobs, workflows
from tests.tui.conversations import traced_site
from tests.tui.harness import NOON, fill

_NANO = 1_000_000_000
_SAMPLES = workflows.SAMPLES
_SECOND = workflows.SECOND


@contextmanager
def at_noon() -> Iterator[None]:
    """The wall clock stands still, in UTC; keys and serial numbers are made in order, not at random."""
    zone, made = os.environ.get("TZ"), [0]

    def key() -> Ed25519PrivateKey:
        made[0] += 1
        return Ed25519PrivateKey.from_private_bytes(bytes([made[0]]) * 32)

    def serial() -> int:
        made[0] += 1
        return 0x5E71A1 << 64 | made[0]

    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        with (
            mock.patch("time.time", return_value=NOON),
            mock.patch("time.time_ns", return_value=int(NOON) * _NANO),
            mock.patch("caroni.trust.keys.generate_key", key),
            mock.patch("cryptography.x509.random_serial_number", serial),
        ):
            yield
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
        time.tzset()


async def make(directory: Path) -> None:
    """``empty`` and ``full``, each with the directories ``m1`` of a manager and ``g1`` of an agent."""
    kept, conversations._made = conversations._made, []
    try:
        full = directory / "full"
        full.mkdir()
        site, _ = await traced_site(full)
        for name in ("m1", "g1"):
            shutil.copytree(full / "first" / name, directory / "empty" / name)
    finally:
        conversations._made = kept
    await _fill(site, Site(load_config(full / "g1")))


async def _fill(manager: Site, agent: Site) -> None:
    await templates.add(manager.loaded, _SAMPLES / "genomics" / "workflow.cwl", "genomics")
    await templates.add(manager.loaded, _SAMPLES / "text-chain" / "workflow.cwl", "text-chain")
    await workflows.fill_workflows(manager)
    await fill(manager, Unit(rows={Peer: _peers()}, quarantine=_quarantine(), now=workflows.NOW))
    await fill(agent, jobs.of_agent())
    jobs.write(agent, jobs.uuid(0x12), "stdout", b"reading r1.fastq\n\x1b[31m12 of 40 blocks\x1b[0m\n")
    await definitions.add(agent.loaded, sorted((_SAMPLES / "text-chain" / "jobs" / "north").glob("*.yml")))


def _peers() -> list[Row]:
    def peer(uri: str, state: PresenceState, silent: int, away: int = 0, gaps: int = 0) -> Peer:
        return Peer(
            uri=uri,
            first_contact=workflows.NOW - 90_000 * _SECOND,
            last_contact=workflows.NOW - silent * _SECOND,
            presence=state,
            away_until=away,
            gaps=gaps,
        )

    return [
        peer(workflows.AGENT, PresenceState.ONLINE, 2),
        peer(workflows.OTHER, PresenceState.OFFLINE, 9000, workflows.NOW + 1800 * _SECOND),
        peer("caroni://b.example/agent/mute", PresenceState.ONLINE, 3600, gaps=3),
    ]


def _quarantine() -> list[QuarantineRow]:
    return [
        QuarantineRow(
            key=bytes([number]) * 16,
            kind=kind,
            body=body,
            sender=workflows.AGENT,
            reason=reason,
            error=error,
            first_at=workflows.NOW - 7200 * _SECOND,
            last_at=workflows.NOW - number * 60 * _SECOND,
            tries=number,
        )
        for number, kind, reason, body, error in (
            (1, "WorkFlowCancel", "E_CRL_STALE", b"", "the list of b.example is too old"),
            (2, "JobStatusUpdate", "E_PARSE", b"\x1b[31mno", "its bytes end too early"),
        )
    ]
