"""A full disk, a real one: a small tmpfs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caroni.core.messages import FailureClass
from tests.execution.conftest import Host, define, job


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Host]:
    """A host whose spool has room for 512 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "caroni-test", str(mount)]
    if os.geteuid() != 0 or (await asyncio.to_thread(subprocess.run, command, check=False)).returncode:
        pytest.skip("mounting a tmpfs needs root")
    host = Host(mount / "spool")
    try:
        await host.open()
        yield host
        await host.executor.close()
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(mount)], check=True)


async def test_a_job_that_fills_the_disk_with_its_output(small: Host) -> None:
    spec = job(define("echo begin >&2; yes"))
    outcome = await small.run(spec)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.AGENT)
    assert outcome.info == "the job's output could not be stored: stdout: No space left on device"
    # the record of its end had its room before the job began
    assert (small.directory(spec) / "exit.json").exists()
    refused = job(define("echo start >> ../starts"))
    outcome = await small.run(refused)
    assert outcome.failure_class is FailureClass.AGENT
    assert "No space left on device" in outcome.info
    assert not (small.directory(refused) / "starts").exists()
    await small.executor.forget([spec.job_uuid, refused.job_uuid])
    assert (await small.run(job(define(":")))).state == "completed"


async def test_a_job_that_fills_the_disk_itself_keeps_its_exit_code(small: Host) -> None:
    outcome = await small.run(job(define("cat /dev/zero > big 2> /dev/null; exit 7")))
    assert (outcome.state, outcome.exit_code) == ("failed", 7)
