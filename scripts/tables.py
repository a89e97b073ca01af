"""Write the generated tables into documents: `python scripts/tables.py docs/*.md`.

A table stands between the lines ``<!-- table: NAME -->`` and ``<!-- end of table -->``. Everything in it
comes from the code: the messages' rules, the state machines, the timers, the console's keys.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from caroni.core.agent.state import AgentSettings
from caroni.core.manager.state import ManagerSettings
from caroni.core.plan import SECOND, StepPolicy
from caroni.core.states import TRANSITIONS
from caroni.tui.acts import every
from caroni.wire.rules import RULES

_TABLE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
#: how Textual's names of keys are written for people
_KEYS = {
    "question_mark": "?", "slash": "/", "colon": ":", "at": "@", "left_square_bracket": "[",
    "right_square_bracket": "]", "escape": "esc", "pagedown": "pgdn", "pageup": "pgup",
}  # fmt: skip
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

#: Settings in microseconds (the rest are counts), with what they are for.
_TIMERS: dict[type[msgspec.Struct], dict[str, str]] = {
    ManagerSettings: {
        "rebroadcast": "an open request is broadcast again, in a higher round; doubles",
        "rebroadcast_cap": "... at most",
        "offer_window": "offers are collected before the best is taken; 0: the first good one wins",
        "exclusion_wait": "an offer of an agent that failed this step waits for somebody else's",
        "accept_resend": "an unanswered accept is repeated; doubles",
        "accept_resend_cap": "... at most",
        "poll": "a live job that has said nothing is asked; doubles",
        "poll_cap": "... at most",
        "suspect_after": "an agent without contact for so long is marked suspect (shown, nothing else)",
        "lost_after": "an agent without contact for so long has lost the job, where the step does not say",
        "max_offline_cap": "the longest absence that an offer may ask for",
        "kill_resend": "an unanswered kill is repeated; doubles",
        "kill_resend_cap": "... at most",
        "unanswered_after": "an operator is warned that nobody answers a request",
        "restore_hold": "after a restore, unknown jobs are taken up or kept for so long, never stopped",
        "abandon_after": "an agent is not told any more about a job that was given up",
    },
    AgentSettings: {
        "offer_ttl": "a reservation that nobody accepts expires",
        "max_offline": "the absence that this agent's offers ask managers to bear",
        "input_timeout": "a job whose inputs do not come fails with class INPUT",
        "result_resend": "a result that is not released is sent again; doubles",
        "result_resend_cap": "... at most",
    },
    StepPolicy: {
        "backoff": "pause before the next attempt, times 0.75 to 1.25; doubles",
        "backoff_cap": "... at most",
        "lost_after": "this step's patience with a silent agent",
        "max_runtime": "longest run of one job; 0: the job definition's own limit",
    },
}
_COUNTS: dict[type[msgspec.Struct], frozenset[str]] = {
    ManagerSettings: frozenset(
        {"max_open_requests", "requests_per_unit", "exclusion_attempts", "accept_tries", "data_chunk"}
    ),
    AgentSettings: frozenset({"slots", "site", "data_chunk"}),
    StepPolicy: frozenset(
        {"max_attempts", "max_other_failures", "at_most_once", "data_class", "non_retryable_exit_codes"}
    ),
}


def duration(microseconds: int) -> str:
    """A duration in its largest whole unit."""
    seconds = microseconds / SECOND
    for size, unit in _UNITS:
        if seconds and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rules() -> str:
    """Every message of the conversation."""
    body = []
    for rule in RULES.values():
        body.append(
            (
                f"`{rule.name}`",
                ", ".join(sorted(rule.roles)),
                "all" if rule.broadcast else "one",
                "no end" if rule.lifetime is None else duration(rule.lifetime),
                rule.repeated_by.lower().replace("_", " "),
                "yes" if rule.base else "",
            )
        )
    return rows(("message", "who may send it", "goes to", "counts for", "repeated by", "base protocol"), body)


def states() -> str:
    """Every state machine, one row a state."""
    parts = []
    for kind, moves in TRANSITIONS.items():
        body = []
        for state in kind:
            order = [one for one in kind if one in moves.get(state, frozenset())]
            body.append((f"`{state}`", ", ".join(f"`{one}`" for one in order) or "*(final)*"))
        parts.append(f"\n**{kind.__name__}**\n\n{rows(('from', 'to'), body)}")
    return "".join(parts) + "\n"


def timers() -> str:
    """Every timer with its default.

    Raises:
        SystemExit: a setting is not described here.
    """
    body = []
    for kind, meanings in _TIMERS.items():
        fields = {f.name: f.default for f in msgspec.structs.fields(kind)}
        if set(fields) != set(meanings) | _COUNTS[kind]:
            raise SystemExit(f"scripts/tables.py: describe {set(fields) ^ (set(meanings) | _COUNTS[kind])}")
        where = kind.__name__.removesuffix("Settings").replace("StepPolicy", "step").lower()
        body += [(where, f"`{name}`", duration(fields[name]), text) for name, text in meanings.items()]
    return rows(("whose", "name", "default", "what happens then"), body)


def keys() -> str:
    """Every key of the console, by the name that a keymap file uses."""
    body = []
    for act in every():
        shown = " ".join(f"`{_KEYS.get(key, key)}`" for key in act.keys.split(","))
        body.append((f"`{act.id}`", shown, act.sentence.replace("|", "\\|")))
    return rows(("name", "key", "what it does"), body)


TABLES: dict[str, Callable[[], str]] = {"rules": rules, "states": states, "timers": timers, "keys": keys}


def main() -> None:
    """Renew the tables of the files named."""
    for name in sys.argv[1:]:
        path = Path(name)
        text = path.read_text()
        path.write_text(_TABLE.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text))


if __name__ == "__main__":
    main()
