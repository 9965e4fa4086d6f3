"""Expectations: what was done and not yet seen."""

from __future__ import annotations

from dataclasses import dataclass

from sublet.reconcile.expectations import TIMEOUT_SECONDS, Expectations


@dataclass
class _Clock:
    time: float = 0.0

    def now(self):
        return self.time

    def monotonic(self):
        return self.time


def test_a_key_waits_for_all_creations_and_deletions():
    expectations = Expectations(_Clock())
    expectations.expect_creations("k", 2)
    expectations.expect_deletions("k", ["u"])
    expectations.creation_observed("k")
    expectations.deletion_observed("k", "u")
    assert not expectations.satisfied("k")
    expectations.creation_observed("k")
    assert expectations.satisfied("k")


def test_deletions_of_others_do_not_count():
    expectations = Expectations(_Clock())
    expectations.expect_deletions("k", ["u"])
    expectations.deletion_observed("k", "other")
    expectations.creation_observed("k")
    assert not expectations.satisfied("k")


def test_what_never_comes_is_given_up():
    clock = _Clock()
    expectations = Expectations(clock)
    expectations.expect_creations("k", 1)
    clock.time = TIMEOUT_SECONDS + 1
    assert expectations.satisfied("k")
