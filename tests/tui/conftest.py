"""In tests a fault of ours ends the console; for operators it is a line on the screen."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _faults_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARONI_DEBUG", "1")
