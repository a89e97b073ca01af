"""A check of ``caroni doctor``: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from caroni.core.plan import DAY

#: a certificate that ends within this (microseconds) is worth a warning
RENEW = 30 * DAY

CheckState = Literal["ok", "warning", "problem"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line. ``remedy`` is empty where there is nothing to do."""

    name: str
    state: CheckState
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Check:
    """As it should be."""
    return Check(name=name, state="ok", text=text)


def warning(name: str, text: str, remedy: str = "") -> Check:
    """Worth an operator's eye; work goes on."""
    return Check(name=name, state="warning", text=text, remedy=remedy)


def problem(name: str, text: str, remedy: str = "") -> Check:
    """Something does not work, or soon will not."""
    return Check(name=name, state="problem", text=text, remedy=remedy)
