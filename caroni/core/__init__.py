"""The protocol as pure decisions.

Four rules hold for every module in this package:

1. Never wait: no coroutine, no I/O, no lock.
2. Never ask for time, ids or dice: ``now`` (integer microseconds since the epoch) and the
   random source come in with the draft.
3. Never change an argument except through the :class:`~caroni.core.draft.Draft` handed in.
4. Say everything in the draft: changed rows, messages to send, actions to do.

A daemon, the embedded system and the simulator drive the same functions.
"""
