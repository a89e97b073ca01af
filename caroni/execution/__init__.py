"""Running jobs on the agent's host: definitions, executors, the spool and its launcher."""
