"""Caroni: an asynchronous, federated workflow service.

The packages are layers; imports go down only (``make check`` proves it)::

    cli                          composition root
    daemon | tui                 shells: everything that waits
    services                     queries and commands the CLI and the console share
    execution                    executors, launcher, spool, job definitions
    wire | cwl | model           formats: bytes, CWL documents, rows
    trust                        identities, keys, certificates
    core                         the protocol: pure decisions
    errors                       the error tree
"""

__version__ = "0.1.0"
