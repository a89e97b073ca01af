"""Plugins: what others may decide or provide, as pluggy hooks under the entry point ``caroni.plugins``."""
