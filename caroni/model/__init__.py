"""The database: schema, migrations, and the store that daemons, CLI and console use."""
