"""The manager's half of the protocol: workflows, steps, requests, offers, and jobs as it knows them.

``routes`` is the entrance: ``handle`` takes a message, ``fire`` a due timer, ``settle`` ends a unit of
work by asking for ready steps. Every message is legal in every state: it is applied, ignored, or
answered.
"""
