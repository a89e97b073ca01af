"""The daemons: everything that waits (broker, database, processes, clock) around the pure core."""
