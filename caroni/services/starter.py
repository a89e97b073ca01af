"""The first ``caroni.toml`` of a directory: short, valid, and with the settings people change, explained."""

from __future__ import annotations

import json
from collections.abc import Sequence

_HEAD = """\
# Configuration of this {role}. Every key: caroni config reference. What is in effect: caroni config show.
# Each key can be replaced by an environment variable: CARONI_AMQP__URL for url in [amqp].

role = {role_text}
site = {site}
name = {name}
# Messages of another federation are refused; change it for a test system beside the real one.
federation = "default"

[amqp]
# amqps://USER@HOST/ ; the password goes to a file of mode 0600 that password_file names.
url = {broker}
# password_file = "broker.password"
# ca_file = "broker-ca.pem"
# exchange = "caroni"

{database}[log]
level = "info"       # debug, info, warning, error
format = "auto"      # human on a terminal, json otherwise
"""

_DATABASE = """\
[database]
# A file on a local disk, or postgres://USER@HOST:5432/NAME with password_file.
url = {database}
{database_password}

"""

_MANAGER = """
[manager]
# Steps that may be looking for an agent at the same time.
# max_open_requests = 500
# An agent silent for this long has lost its jobs, where neither step nor agent says otherwise.
# lost_after = "40m"

# Who may start workflows here, and which.
[[manager.allow_submitter]]
submitter = {submitters}
templates = ["*"]
"""

_TRUST = """
# Whose offers are taken, for which job types. * may stand in a name, never for a site.
[[manager.trust]]
agent = {agent}
job_types = ["*"]
"""

_AGENT = """
[agent]
# Jobs that run at once; without it, one for each core.
# slots = 4
# How long managers are asked to wait when this host goes away ("7d" for a laptop).
# max_offline = "0s"
# With "files" only the job definitions in jobs.d count and none can be added through the database.
# definitions = "database"
"""

_SUBMITTER = """
[submitter]
# Where workflows go, where --manager names no other.
{manager}
"""

_ALLOW = """
# Whose jobs run here, and which. * may stand in a name, never for a site.
[[agent.allow]]
manager = {manager}
job_types = ["*"]
# max_running = 0
# max_queued = 1000
# max_runtime = "2h"
"""


def starter(
    role: str,
    site: str,
    name: str,
    *,
    broker: str,
    database: str = "sqlite://caroni.db",
    database_password_file: str = "",
    allow_managers: Sequence[str] = (),
    trust_agents: Sequence[str] = (),
    manager: str = "",
) -> str:
    """The text of a new configuration file.

    Args:
        role: ``manager``, ``agent`` or ``submitter``.
        site: who vouches for the identity.
        name: the identity's name.
        broker: URL of the broker, without a password.
        database: URL of the database, without a password.
        database_password_file: where its password is, if it needs one.
        allow_managers: identity patterns for an agent; without any, all managers of its own site.
        trust_agents: identity patterns for a manager; without any, all agents of its own site.
        manager: identity of a submitter's manager.
    """
    password = f"password_file = {_toml(database_password_file)}"
    own = _DATABASE.format(
        database=_toml(database),
        database_password=password if database_password_file else '# password_file = "database.password"',
    )
    text = _HEAD.format(
        role=role,
        role_text=_toml(role),
        site=_toml(site),
        name=_toml(name),
        broker=_toml(broker),
        database="" if role == "submitter" else own,
    )
    if role == "manager":
        text += _MANAGER.format(submitters=_toml(f"caroni://{site}/submitter/*"))
        for agent in trust_agents or (f"caroni://{site}/agent/*",):
            text += _TRUST.format(agent=_toml(agent))
    elif role == "submitter":
        line = f"manager = {_toml(manager)}" if manager else f'# manager = "caroni://{site}/manager/NAME"'
        text += _SUBMITTER.format(manager=line)
    elif role == "agent":
        text += _AGENT
        for manager in allow_managers or (f"caroni://{site}/manager/*",):
            text += _ALLOW.format(manager=_toml(manager))
    return text


def _toml(text: str) -> str:
    """A TOML basic string (its escapes are JSON's, DEL aside)."""
    return json.dumps(text).replace("\x7f", "\\u007f")
