"""The operator's console: what the daemons' databases and broker tell, on a terminal.

Rules kept here:

1. A widget paints a frozen snapshot; it never reads or writes anything.
2. A screen reads in a worker (``fetch``) and paints on the loop (``paint``). Nothing waits in the loop.
3. What the operator does is a command or a catalogue entry, given through the same functions of
   ``caroni.services`` that the command line uses, and written down as a line that can be pasted into a shell.
4. Every word of a peer, a job or a document is made safe where it is painted.
5. A state is a glyph and a word; colour only repeats what they say.

This package imports neither the daemons nor the libraries of database and broker. Its sites use the
store through ``caroni.services``; what listens to the broker is handed in by ``caroni.cli.tui``, the
composition root.
"""
