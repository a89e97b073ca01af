"""Is this daemon well? Everything is only looked at, each look is bounded, and none stops the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from caroni.config import Loaded
from caroni.core.plan import DAY, MINUTE
from caroni.errors import CaroniError, ConfigError
from caroni.services import peers as knowing
from caroni.services.checks import RENEW, Check, ok, problem, warning
from caroni.services.clocks import delays
from caroni.services.control import daemon_runs, shown_agent
from caroni.services.hindrances import disk_free
from caroni.services.stores import now, opened
from caroni.services.testimony import unsent
from caroni.services.words import ago, ahead, plural, said, size, span, until

if TYPE_CHECKING:
    from caroni.model.store import Store

#: seconds that one look may take
PATIENCE = 10.0
#: a message or a command that waits longer than this is stuck
STUCK = MINUTE
#: peers that are named in one check
NAMED = 5

#: One look at a daemon's database.
Look = Callable[[Loaded, "Store", int], Awaitable[list[Check]]]


async def examine(loaded: Loaded) -> AsyncIterator[Check]:
    """Every check of this host and database, as it is answered; the broker is the caller's to look at."""
    role = loaded.config.role
    for name, look in (("clock", _clock), ("certificate", _certificate), ("trust", _trust)):
        for check in await _bounded(name, asyncio.to_thread(_listed, look, loaded)):
            yield check
    if role == "submitter":
        return
    runs = await asyncio.to_thread(daemon_runs, loaded.lock_file)
    if runs:
        yield ok("daemon", f"the {role} runs")
    else:
        yield warning("daemon", f"the {role} does not run", f"caroni {role} --config {loaded.directory}")
    for check in await _bounded("disk", _disk(loaded)):
        yield check
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(PATIENCE):
                store = await stack.enter_async_context(opened(loaded, role, "databases", read_only=True))
        except (CaroniError, TimeoutError) as error:
            yield problem("database", str(error) or f"it does not answer within {PATIENCE:.0f} s")
            return
        looks: list[tuple[str, Look]] = [
            ("database", _database),
            ("outbox", _outbox),
            ("peers", _peers),
            ("clocks", _skew),
            ("refused", _refused),
            ("quarantine", _quarantine),
            ("restore", _restore),
            ("commands", _commands),
        ]
        if role == "agent":
            looks += [("availability", _availability), ("spool", _spool)]
        for name, look_at in looks:
            for check in await _bounded(name, look_at(loaded, store, now())):
                yield check


async def _bounded(name: str, look: Awaitable[list[Check]]) -> list[Check]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await look
    except TimeoutError:
        return [
            problem(name, f"no answer within {PATIENCE:.0f} s", "is the database or the disk overloaded?")
        ]
    except (CaroniError, OSError) as error:
        return [problem(name, said(str(error), 500))]


def _listed(look: Callable[[Loaded], Iterator[Check]], loaded: Loaded) -> list[Check]:
    return list(look(loaded))


# --- this host -----------------------------------------------------------------------------------


def _clock(loaded: Loaded) -> Iterator[Check]:
    from caroni.trust.clock import ClockFile, check_clock

    at = now()
    try:
        check_clock(at, ClockFile(loaded.directory / "clock").read())
    except ConfigError as error:
        yield problem("clock", str(error), "set the clock (ntp), or the daemon does not start")
    else:
        yield ok("clock", "not behind what was seen before")


def _certificate(loaded: Loaded) -> Iterator[Check]:
    from caroni.trust.certificates import parse_presented
    from caroni.trust.instants import to_micros
    from caroni.trust.keys import load_signer

    security, uri = loaded.config.security, loaded.config.uri
    signer = load_signer(security.key_file, security.certificate_file)
    if signer.uri != uri:
        yield problem("certificate", f"{security.certificate_file} is of {signer.uri}, not of {uri}",
                      "install the one that was made from identity.csr (caroni pki install)")  # fmt: skip
        return
    ends = to_micros(parse_presented(signer.certificate).leaf.not_valid_after_utc)
    remedy = "have identity.csr signed again (caroni pki issue), then caroni pki install"
    yield _expiry("certificate", "its own certificate", ends, remedy)


def _trust(loaded: Loaded) -> Iterator[Check]:
    from caroni.trust.instants import to_micros
    from caroni.trust.store import TrustStore

    trust = TrustStore.load(loaded.config.security.trust_dir)
    if not trust.sites:
        yield problem("trust", "no site is trusted: every message is refused", "caroni trust import")
    for name, site in sorted(trust.sites.items()):
        ends = max((to_micros(anchor.not_valid_after_utc) for anchor in site.anchors), default=0)
        remedy = f"take the new CA of {name} (caroni trust import)"
        yield _expiry(f"CA of {name}", "its certificate", ends, remedy)
        at = now()
        for listed in site.lists.values():
            if at <= listed.next_update:
                yield ok(f"CRL of {name}", f"of {ago(listed.this_update, at)}, {len(listed.revoked)} revoked")
            elif at <= listed.next_update + site.max_staleness:
                text = f"should have been renewed {ago(listed.next_update, at)}"
                yield warning(f"CRL of {name}", text, f"ask {name} for a new one (caroni trust update)")
            else:
                text = f"too old: since {span(at - listed.next_update - site.max_staleness)} {site.crl_fail}"
                yield problem(f"CRL of {name}", text, f"ask {name} for a new one (caroni trust update)")
    if trust.bans:
        yield ok("bans", f"{plural(len(trust.bans), 'ban')} on this host")


def _expiry(name: str, what: str, ends: int, remedy: str) -> Check:
    at = now()
    if ends <= at:
        return problem(name, f"{what} ended {ago(ends, at)}", remedy)
    if ends <= at + RENEW:
        return warning(name, f"{what} ends {ahead(ends, at)}", remedy)
    return ok(name, f"{what} is good for another {span(ends - at)}")


async def _disk(loaded: Loaded) -> list[Check]:
    free, reserve = await asyncio.to_thread(disk_free, loaded), loaded.config.limits.disk_reserve
    text = f"{size(free)} free, {size(reserve)} are kept in reserve"
    if free < reserve:
        return [problem("disk", f"{text}: nothing new is begun", "free some, or caroni prune")]
    if free < 2 * reserve:
        return [warning("disk", text, "free some before new work stops")]
    return [ok("disk", text)]


# --- its database --------------------------------------------------------------------------------


async def _database(loaded: Loaded, store: Store, at: int) -> list[Check]:
    from caroni.services.databases import check

    found = await check(loaded)
    return [ok("database", f"{found.database}: undamaged, of this version, {size(await _size(store))}")]


async def _size(store: Store) -> int:
    database = store.database
    if not database.dialect.sqlite:
        ((count,),) = await database.fetch("SELECT pg_database_size(current_database())")
        return int(count)
    path = str(database.place.path)
    return await asyncio.to_thread(_bytes, (path, f"{path}-wal"))


def _bytes(paths: tuple[str, ...]) -> int:
    return sum(os.path.getsize(path) for path in paths if os.path.exists(path))


async def _outbox(loaded: Loaded, store: Store, at: int) -> list[Check]:
    waiting = await unsent(store)
    count = sum(one for one, _ in waiting.values())
    late = {peer: (n, since) for peer, (n, since) in waiting.items() if since < at - STUCK}
    if not late:
        return [ok("outbox", f"{plural(count, 'message')} on the way")]
    oldest = min(since for _, since in late.values())
    named = ", ".join(f"{said(peer, 100)} ({n})" for peer, (n, _) in list(late.items())[:NAMED])
    text = f"{plural(count, 'message')} not sent, the oldest of {ago(oldest, at)}: {named}"
    if count > loaded.config.limits.outbox_rows:
        return [problem("outbox", f"{text}; nothing new is begun", "is the broker in reach? (below)")]
    return [warning("outbox", text, "is the broker in reach, and has the peer ever been on it?")]


async def _peers(loaded: Loaded, store: Store, at: int) -> list[Check]:
    known = [peer for peer in await knowing.peers(store, at) if peer.last_contact]
    if not known:
        return [
            warning("peers", "nobody was ever heard", "do the peers trust this site, and this daemon theirs?")
        ]
    found = [
        ok("peers", f"{plural(len(known), 'peer')}, last heard {ago(max(p.last_contact for p in known), at)}")
    ]
    silence = loaded.config.manager.suspect_after
    silent = [p for p in known if p.jobs and p.last_contact < at - silence and p.away_until < at]
    if silent:
        named = ", ".join(f"{said(p.uri, 100)} ({ago(p.last_contact, at)})" for p in silent[:NAMED])
        found.append(warning("silent peers", f"with live jobs: {named}", "caroni explain says until when"))
    gaps = [p for p in known if p.gaps]
    if gaps:
        named = ", ".join(f"{said(p.uri, 100)} ({p.gaps})" for p in gaps[:NAMED])
        text = f"sequence numbers that never came: {named}"
        found.append(warning("gaps", text, "a broker lost them; timers have their content sent again"))
    back = [p for p in known if p.put_back_at > at - 30 * DAY]
    if back:
        named = ", ".join(f"{said(p.uri, 100)} ({ago(p.put_back_at, at)})" for p in back[:NAMED])
        found.append(warning("put back", f"peers with an older database than they had: {named}",
                             "they have been told; their operator should know"))  # fmt: skip
    return found


async def _skew(loaded: Loaded, store: Store, at: int) -> list[Check]:
    """How far peers' clocks are ahead at least; behind cannot be told from slow."""
    least = await delays(store)
    off = {uri: delay for uri, delay in least.items() if abs(delay) > knowing.AGREES}
    if not least:
        return []
    if not off:
        return [ok("clocks", f"those of {plural(len(least), 'peer')} agree within {span(knowing.AGREES)}")]
    named = ", ".join(
        f"{said(uri, 100)} {'ahead by' if delay < 0 else 'behind, or slow, by'} {span(abs(delay))}"
        for uri, delay in list(off.items())[:NAMED]
    )
    check = problem if any(-delay > loaded.config.security.skew for delay in off.values()) else warning
    return [check("clocks", named, "set the clocks (ntp); security.skew says what is taken")]


async def _refused(loaded: Loaded, store: Store, at: int) -> list[Check]:
    from caroni.model.mapping import unescape

    rows = await store.database.fetch(
        'SELECT reason, "count", last_at FROM reject_count ORDER BY "count" DESC'
    )
    if not rows:
        return [ok("refused", "no message was ever refused")]
    named = ", ".join(f"{said(unescape(r[0]), 40)} {r[1]} (last {ago(int(r[2]), at)})" for r in rows[:NAMED])
    if any(int(r[2]) > at - DAY for r in rows):
        return [warning("refused", named, "what each means: docs/protocol.md, Verdicts")]
    return [ok("refused", named)]


async def _quarantine(loaded: Loaded, store: Store, at: int) -> list[Check]:
    rows = await store.database.fetch("SELECT reason, COUNT(*) FROM quarantine GROUP BY reason")
    if not rows:
        return [ok("quarantine", "empty")]
    named = ", ".join(f"{said(str(r[0]), 40)} {r[1]}" for r in rows[:NAMED])
    check = problem if any(r[0] in ("UNREADABLE", "BUG", "POISON") for r in rows) else warning
    return [check("quarantine", named, "caroni quarantine list")]


async def _restore(loaded: Loaded, store: Store, at: int) -> list[Check]:
    facts = await store.settings()
    found: list[Check] = []
    if facts.get("put_back"):
        found.append(
            warning("restore", "it was put back: the next start renews its stream", "start the daemon")
        )
    hold = int(facts.get("hold_until") or 0)
    if hold > at:
        ((count,),) = await store.database.fetch("SELECT COUNT(*) FROM orphan WHERE due > 0")
        text = f"jobs that the database does not know are left alone {until(hold, at)}"
        orphans = f"; {plural(int(count), 'orphan')} (caroni jobs --state orphan)" if count else ""
        found.append(warning("restore", text + orphans, "caroni kill JOB stops one now" if count else ""))
    return found


async def _commands(loaded: Loaded, store: Store, at: int) -> list[Check]:
    ((count, oldest),) = await store.database.fetch(
        "SELECT COUNT(*), MIN(created_at) FROM command WHERE state = 'new'"
    )
    if not count or int(oldest) > at - STUCK:
        return [ok("commands", f"{plural(int(count), 'command')} waiting")]
    text = f"{plural(int(count), 'command')} waiting, the oldest since {span(at - int(oldest))}"
    runs = await asyncio.to_thread(daemon_runs, loaded.lock_file)
    if runs:
        return [problem("commands", text, "the daemon runs and does not carry them out: see its log")]
    return [warning("commands", text, "the daemon carries them out when it starts")]


# --- an agent ------------------------------------------------------------------------------------


async def _availability(loaded: Loaded, store: Store, at: int) -> list[Check]:
    agent = await shown_agent(loaded, store)
    work = f"{plural(agent.running, 'job')} running, {agent.waiting} waiting"
    start, end = agent.window
    plan = f"; next absence {ahead(start, at)} for {span(end - start)}" if start > at else ""
    if agent.state == "online":
        return [ok("availability", f"takes work, {work}{plan}")]
    if agent.state == "draining":
        kills = f", what is left is killed {ahead(agent.drain_deadline, at)}" if agent.drain_deadline else ""
        return [warning("availability", f"draining, {work}{kills}", "caroni undrain")]
    return [warning("availability", f"announced as away {until(agent.until, at)}, {work}",
                    "caroni presence online (not for the schedule's absences)")]  # fmt: skip


async def _spool(loaded: Loaded, store: Store, at: int) -> list[Check]:
    spool = loaded.config.agent.spool_dir
    names, used, whole = await asyncio.to_thread(_measure, str(spool))
    known = await store.agent_jobs(names)
    lost = [name for name in names if name not in known]
    text = f"{plural(len(names), 'job')} in {spool}, {'' if whole else 'more than '}{size(used)}"
    if lost:
        some = ", ".join(uuid.hex()[:12] for uuid in lost[:NAMED])
        remedy = "the agent looks at them when it starts; caroni prune removes what is old"
        return [warning("spool", f"{text}; {len(lost)} that no row knows: {some}", remedy)]
    return [ok("spool", text)]


def _measure(directory: str, most: int = 20_000) -> tuple[list[bytes], int, bool]:
    """Jobs in a spool, the bytes of their files, and whether all were counted."""
    names: list[bytes] = []
    used = count = 0
    if os.path.isdir(directory):
        for entry in os.scandir(directory):
            if len(entry.name) == 32 and entry.is_dir(follow_symlinks=False):
                try:
                    names.append(bytes.fromhex(entry.name))
                except ValueError:
                    continue
    for root, _, files in os.walk(directory):
        for file in files:
            count += 1
            if count > most:
                return names, used, False
            try:
                used += os.lstat(os.path.join(root, file)).st_size
            except OSError:
                continue
    return names, used, True
