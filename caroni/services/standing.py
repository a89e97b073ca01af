"""What somebody may do here: whether his site is believed, and which rule speaks of him."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from caroni.config import Loaded
from caroni.core.base_peers import UNSIGNED_PREFIX
from caroni.core.patterns import identity_matches
from caroni.core.peers import role_of
from caroni.services.stores import with_article
from caroni.trust.store import TrustStore


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anything is taken from him.

    ``rule`` names the first rule that is for him, e.g. ``manager.trust[0]``; ``text`` says what it allows, or
    why nothing is.
    """

    allowed: bool
    rule: str = ""
    text: str = ""


def standing_of(loaded: Loaded) -> Callable[[str], Standing]:
    """Who may do what, by the trust directory and the configuration as they are now.

    A running daemon may know older ones: it reads trust again when it is told to, rules when it starts.

    Raises:
        ConfigError: a trust file is wrong or unsafe.
    """
    trust = TrustStore.load(loaded.config.security.trust_dir)
    rules = _rules(loaded)
    lab = loaded.config.security.mode == "lab"

    def standing(uri: str) -> Standing:
        if uri.startswith(UNSIGNED_PREFIX):
            if not lab:
                return Standing(allowed=False, text="it signs nothing, and this is not lab mode")
            return next((found for found in _fitting(rules, uri)), _NO_RULE)
        role, site = role_of(uri), uri.removeprefix("caroni://").partition("/")[0]
        if uri in trust.bans:
            return Standing(allowed=False, text="banned on this host")
        believed = trust.sites.get(site)
        if believed is None:
            return Standing(allowed=False, text=f"its site {site} is not trusted here")
        if role not in believed.roles:
            return Standing(allowed=False, text=f"{site} is not trusted for {role}s")
        if not any(speaks_of == role for speaks_of, *_ in rules):
            own = with_article(loaded.config.role)
            return Standing(allowed=False, text=f"{own} takes nothing from {with_article(role)}")
        return next((found for found in _fitting(rules, uri)), _NO_RULE)

    return standing


_NO_RULE = Standing(allowed=False, text="no rule of the configuration is for it")

#: role that it speaks of, its name, the identity pattern, what it grants
_Rule = tuple[str, str, str, str]


def _rules(loaded: Loaded) -> list[_Rule]:
    config = loaded.config
    found: list[_Rule] = []
    if config.role == "manager":
        found += [
            ("agent", f"manager.trust[{n}]", r.agent, f"job types {_some(r.job_types)}")
            for n, r in enumerate(config.manager.trust)
        ]
        found += [
            ("submitter", f"manager.allow_submitter[{n}]", r.submitter, f"templates {_some(r.templates)}")
            for n, r in enumerate(config.manager.allow_submitter)
        ]
    elif config.role == "agent":
        found += [
            ("manager", f"agent.allow[{n}]", r.manager, f"job types {_some(r.job_types)}")
            for n, r in enumerate(config.agent.allow)
        ]
    return found


def _some(patterns: tuple[str, ...]) -> str:
    return ", ".join(patterns[:10]) + (", ..." if len(patterns) > 10 else "")


def _fitting(rules: list[_Rule], uri: str) -> list[Standing]:
    return [
        Standing(allowed=True, rule=name, text=grants)
        for _, name, pattern, grants in rules
        if identity_matches(pattern, uri)
    ]
