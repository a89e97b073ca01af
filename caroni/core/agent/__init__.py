"""The agent's half of the protocol: offers as reservations, jobs, and the FIFO queue between them.

``routes`` is the entrance: ``handle`` takes a message, ``happened`` what the executor reports, ``fire``
a due timer, ``settle`` ends a unit of work by starting what the free slots allow. Every message is
legal in every state: it is applied, ignored, or answered.
"""
