"""The colours that can be chosen: Textual's own; with those called ``ansi-`` the terminal decides."""

from textual.theme import BUILTIN_THEMES

#: their names
THEMES: tuple[str, ...] = tuple(sorted(BUILTIN_THEMES))
