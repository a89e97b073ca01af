"""Daemons on real stores (SQLite) and the in-process bus."""

from tests.model.databases import *  # noqa: F403
