"""Text made safe to show."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from caroni.text import safe_json, safe_line, safe_text

ANY = st.text(st.characters(exclude_categories=()), max_size=200) | st.text(
    "\x1b[31m\n\t\u202ea\\", max_size=80
)


@given(ANY, st.integers(0, 120))
def test_a_fixed_point_within_its_limit(text, limit):
    once = safe_text(text, limit)
    assert safe_text(once, limit) == once
    assert len(once) <= limit
    line = safe_line(text, limit)
    assert safe_line(line, limit) == line
    assert "\n" not in line


@given(ANY)
def test_nothing_that_acts_is_left(text):
    shown = safe_text(text)
    for char in shown:
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
    shown.encode()


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=100))
def test_ordinary_text_is_untouched(text):
    assert safe_text(text) == text


def test_what_it_looks_like():
    assert safe_text("\x1b]0;x\x07 \x9b31m") == "\\x1b]0;x\\x07 \\x9b31m"
    assert safe_text("a\u202eb\u200bc\ud800") == "a\\u202eb\\u200bc\\ud800"
    assert safe_text("tab\tline\n") == "tab\tline\n"
    assert safe_line("a\nb") == "a\\x0ab"
    assert safe_text("x" * 9, 4) == "xxx…"


@given(ANY)
def test_json_stays_equal_and_becomes_safe(text):
    shown = safe_json(json.dumps({"k": text}, ensure_ascii=False))
    assert json.loads(shown) == {"k": text}
    assert safe_text(shown, 10_000) == shown
