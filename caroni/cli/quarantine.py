"""``caroni quarantine``: what a manager or an agent has set aside."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.errors import CaroniError

if TYPE_CHECKING:
    from caroni.services.quarantine import Outcome

app = group()

Which = Annotated[
    list[str] | None,
    typer.Argument(help="Keys, or their first characters.", metavar="[KEY]...", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Everything that is in quarantine.")]
Reason = Annotated[str, typer.Option(help="Everything with this reason, e.g. E_TYPE.", show_default=False)]


@app.callback()
def _quarantine() -> None:
    """Messages, workflows and jobs that were set aside: look, have them tried again, drop them."""


@app.command(name="list", epilog=example("caroni quarantine list --reason E_TYPE --config m1"))
def list_(
    reason: Annotated[str, typer.Option(help="Only with this reason.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=10_000)] = 100,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """List what was set aside, the last first."""
    from caroni.services.quarantine import set_aside
    from caroni.services.stores import now
    from caroni.services.words import ago

    found = asyncio.run(
        _with_store(config, True, lambda loaded, store: set_aside(store, limit=limit, reason=reason))
    )
    if json:
        output.as_json(found)
        return
    at = now()
    output.table(
        ("key", "what", "from", "reason", "tries", "last", "why"),
        [
            (
                row.key[:12],
                row.kind,
                row.sender,
                row.reason,
                row.tries,
                ago(row.last_at, at),
                row.error or row.meaning,
            )
            for row in found
        ],
        empty="nothing is in quarantine",
    )


@app.command(epilog=example("caroni quarantine show 3f2a --config m1"))
def show(
    which: Annotated[str, typer.Argument(help="A key, or its first characters.", metavar="KEY")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show one row with its content, as far as it can be decoded; nothing of it is believed."""
    from caroni.services import quarantine

    found = asyncio.run(_with_store(config, True, lambda loaded, store: quarantine.show(store, which)))
    if json:
        output.as_json(found)
        return
    row = found.row
    output.line(f"key      {row.key}")
    output.line(f"what     {row.kind}")
    output.line(f"from     {row.sender or '(not proven)'}")
    output.line(f"reason   {row.reason}" + (f": {row.meaning}" if row.meaning else ""))
    output.line(f"error    {row.error}")
    output.line(f"first    {output.instant(row.first_at)}")
    output.line(f"last     {output.instant(row.last_at)}, {row.tries} tries")
    output.line(f"size     {found.size} bytes" + (f" ({found.error})" if found.error else ""))
    for name, value in found.claims.items():
        output.line(f"claims   {name}: {_json(value)}")
    for message in found.messages:
        output.line(f"message  {message['type']}, {message['size']} bytes")
        if message["error"]:
            output.line(f"  {message['error']}")
            output.line(f"  begins (base64): {message['head']}")
        for name, value in message["fields"].items():
            output.line(f"  {name}: {_json(value)}")
    if found.more:
        output.line(f"and {found.more} more messages")


@app.command(
    epilog=example("caroni quarantine replay 3f2a --config m1", "caroni quarantine replay --reason E_TYPE")
)
def replay(
    which: Which = None,
    all_: All = False,
    reason: Reason = "",
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Have the daemon try it again: after an upgrade, after a certificate came, after a repair.

    Each passes the same checks as if it came now; what is refused again stays, with the newer reason.
    """
    from caroni.services import quarantine

    async def work(loaded: Any, store: Any) -> Outcome:
        keys = await quarantine.keys_of(store, which or (), all=all_, reason=reason)
        return await quarantine.replay(loaded, store, keys)

    found = asyncio.run(_with_store(config, False, work))
    if json:
        output.as_json(found)
    else:
        output.line(f"{found.done} tried again and taken, {len(found.refused)} refused again")
        for key, why in found.refused.items():
            output.line(f"  {key[:12]}  {why}")
    if found.refused and not found.done:
        raise CaroniError("nothing was taken: what was refused again stays in quarantine")


@app.command(epilog=example("caroni quarantine drop 3f2a --config m1", "caroni quarantine drop --all"))
def drop(
    which: Which = None,
    all_: All = False,
    reason: Reason = "",
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Forget it. Of a workflow or a job only this note is dropped, never its rows."""
    from caroni.services import quarantine

    async def work(loaded: Any, store: Any) -> Outcome:
        keys = await quarantine.keys_of(store, which or (), all=all_, reason=reason)
        return await quarantine.drop(loaded, store, keys)

    found = asyncio.run(_with_store(config, False, work))
    if json:
        output.as_json(found)
    else:
        output.line(f"{found.done} dropped")


async def _with_store(
    config: Path | None, read_only: bool, work: Callable[[Any, Any], Awaitable[Any]]
) -> Any:
    from caroni.config import load_config
    from caroni.services.control import to_daemon

    loaded = load_config(config)
    async with to_daemon(loaded, read_only=read_only) as store:
        return await work(loaded, store)


def _json(value: Any) -> str:
    return jsonlib.dumps(value)[:2000]
