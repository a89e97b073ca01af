"""Policy patterns against a reference made of regular expressions."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.core.patterns import Rules, identity_matches, identity_pattern_problem, name_matches

ALPHABET = st.text("ab*", max_size=9)
NAMES = st.text("ab", max_size=12)


def expected(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


@given(ALPHABET, NAMES)
def test_names_match_as_the_reference_says(pattern, name):
    assert name_matches(pattern, name) is expected(pattern, name)


@given(st.sampled_from(["s.example", "t.example"]), st.sampled_from(["agent", "manager"]), ALPHABET, NAMES)
def test_identities_match_only_within_site_and_role(site, role, pattern, name):
    uri = f"caroni://{site}/{role}/{name}"
    assert identity_matches(f"caroni://s.example/agent/{pattern}", uri) is (
        site == "s.example" and role == "agent" and expected(pattern, name)
    )


def test_a_star_never_crosses_a_segment():
    assert not identity_matches("caroni://s/agent/*", "caroni://s/agent/x/y")
    assert not identity_matches("caroni://s/*", "caroni://s/agent/x")
    assert not identity_matches("*", "caroni://s/agent/x")
    assert not identity_matches("caroni://s/agent/*", "unsigned:abc")


def test_hostile_patterns_take_linear_time():
    start = time.perf_counter()
    assert not name_matches("a*" * 2000 + "b", "a" * 20_000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("caroni://s.example/agent/*", ""),
        ("caroni://s.example/agent/gpu-*", ""),
        ("caroni://*/agent/x", "a site cannot be a wildcard"),
        ("caroni://s.*/agent/x", "a site cannot be a wildcard"),
        ("caroni://s/manager/x", "the role here is agent"),
        ("caroni://s/agent/", "not of the form"),
        ("caroni://s/agent/a/b", "not of the form"),
        ("caroni://S/agent/a", "not of the form"),
        ("caroni://s/agent/a\n", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_pattern_problems(pattern, problem):
    found = identity_pattern_problem(pattern, "agent")
    assert (problem in found) if problem else found == ""


def test_the_first_rule_decides_and_the_default_is_no():
    rules = Rules(
        [
            ("caroni://a/manager/m1", ("fft-*",), "first"),
            ("caroni://a/manager/*", ("*",), "second"),
        ]
    )
    for _ in range(2):  # the second time from the cache
        assert rules.find("caroni://a/manager/m1", "fft-2d") == "first"
        assert rules.find("caroni://a/manager/m1", "sort") == "second"
        assert rules.find("caroni://b/manager/m1", "fft-2d") is None
    assert Rules([]).find("caroni://a/manager/m1", "x") is None


def test_the_cache_is_bounded():
    rules = Rules([("caroni://a/manager/*", ("*",), 1)])
    for n in range(10_100):
        assert rules.find("caroni://a/manager/m", f"j{n}") == 1
    assert len(rules._cache) <= 10_000
