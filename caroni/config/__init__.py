"""Configuration: one strict TOML file for each daemon, with the environment over it.

Imports nothing of Caroni but ``errors``, ``text`` and pure helpers of ``core``.
"""

from caroni.config.load import FILE_NAME, Loaded, build, find_config, load_config
from caroni.config.schema import (
    Agent,
    AllowManager,
    AllowSubmitter,
    Amqp,
    Config,
    Database,
    Limits,
    Log,
    Manager,
    Retention,
    Security,
    Submitter,
    TrustAgent,
)
from caroni.config.secrets import broker_url, database_url, read_secret

__all__ = [
    "FILE_NAME",
    "Agent",
    "AllowManager",
    "AllowSubmitter",
    "Amqp",
    "Config",
    "Database",
    "Limits",
    "Loaded",
    "Log",
    "Manager",
    "Retention",
    "Security",
    "Submitter",
    "TrustAgent",
    "broker_url",
    "build",
    "database_url",
    "find_config",
    "load_config",
    "read_secret",
]
