"""``caroni config``: what is in effect, and the reference of all keys."""

from __future__ import annotations

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

app = group()


@app.callback()
def _config() -> None:
    """Show the configuration that is in effect."""


@app.command(epilog=example("caroni config show --config /var/lib/caroni/m1"))
def show(config: Configuration = None, json: Json = False) -> None:
    """Print every key, its value, and where the value came from."""
    from caroni.config import load_config
    from caroni.services.settings import effective

    loaded = load_config(config)
    settings = effective(loaded)
    if json:
        output.as_json({"path": str(loaded.path), "settings": settings})
        return
    output.note(f"{loaded.path} ({loaded.config.uri})")
    output.table(("key", "value", "from"), [(s.key, s.text, s.origin) for s in settings])


@app.command(epilog=example("caroni config reference", "caroni config reference --json | jq '.[].key'"))
def reference(json: Json = False) -> None:
    """Print every key with its meaning, unit and default (no configuration needed)."""
    from caroni.config.reference import reference as markdown
    from caroni.services.settings import all_keys

    if json:
        output.as_json(all_keys())
        return
    output.line(markdown().rstrip("\n"))
