"""Who a policy rule speaks of: patterns over identities and names, and lists of rules.

An identity pattern is ``caroni://<site>/<role>/<name>``; only the name may hold ``*``, which stands for
any run of characters of that segment (``gpu*``, ``*``). A site is never a wildcard: trust in a stranger's
site is given by name. ``unsigned:*`` stands for the peers of the base protocol (lab mode). Name patterns
(job types, templates) may hold ``*`` anywhere. Comparison is by exact characters, and takes time linear in
the text (security chapter, 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

from caroni.core.base_peers import UNSIGNED

R = TypeVar("R")

_IDENTITY = re.compile(
    r"caroni://(?P<site>[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)/(?P<role>[a-z]+)/(?P<name>[a-z0-9*-]{1,63})"
)
#: Decisions kept per rule list; peers cannot make it grow further.
_CACHE = 10_000


def name_matches(pattern: str, name: str) -> bool:
    """Whether ``name`` fits ``pattern``, where ``*`` stands for any run of characters, also none."""
    if "*" not in pattern:
        return pattern == name
    head, *middle, tail = pattern.split("*")
    if len(name) < len(head) + len(tail) or not name.startswith(head) or not name.endswith(tail):
        return False
    at, end = len(head), len(name) - len(tail)
    for part in middle:
        # the leftmost place is as good as any later one
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def identity_matches(pattern: str, uri: str) -> bool:
    """Whether the identity ``uri`` fits an identity ``pattern``: same site, same role, name as above."""
    where, _, name_pattern = pattern.rpartition("/")
    site_and_role, _, name = uri.rpartition("/")
    return where == site_and_role and name_matches(name_pattern, name)


def identity_pattern_problem(pattern: str, role: str) -> str:
    """Say in one phrase what is wrong with an identity pattern for ``role``, or ``""``."""
    if pattern == UNSIGNED and role != "operator":
        return ""
    match = _IDENTITY.fullmatch(pattern)
    if match is None:
        site = pattern.removeprefix("caroni://").split("/", 1)[0]
        if "*" in site:
            return "a site cannot be a wildcard: name each site in a rule of its own"
        return f"not of the form caroni://<site>/{role}/<name>, where the name may hold *"
    if match["role"] != role:
        return f"the role here is {role}, not {match['role']}"
    return ""


class Rules(Generic[R]):
    """An ordered list of rules; the first that names both the identity and the name decides.

    Nothing matches an empty list: what no rule allows is denied.
    """

    def __init__(self, rules: Iterable[tuple[str, tuple[str, ...], R]]) -> None:
        """Take ``(identity pattern, name patterns, rule)`` in order."""
        self._rules = tuple(rules)
        self._cache: dict[tuple[str, str], R | None] = {}

    def knows(self, uri: str) -> bool:
        """Whether any rule is for this identity, whatever it grants."""
        return any(identity_matches(identity, uri) for identity, _, _ in self._rules)

    def find(self, uri: str, name: str) -> R | None:
        """The first rule for this identity and this job type (or template), or None: denied."""
        key = (uri, name)
        try:
            return self._cache[key]
        except KeyError:
            pass
        found = None
        for identity, names, rule in self._rules:
            if identity_matches(identity, uri) and any(name_matches(n, name) for n in names):
                found = rule
                break
        if len(self._cache) >= _CACHE:
            self._cache.clear()
        self._cache[key] = found
        return found
