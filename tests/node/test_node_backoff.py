"""Waiting longer after each failure, and writing only what changed of a status."""

from __future__ import annotations

from sublet.node.backoff import BackOff
from sublet.node.statuswriter import difference


def test_the_first_restart_is_at_once_and_later_ones_wait_twice_as_long() -> None:
    backoff = BackOff(10, 300)
    assert backoff.remaining("k", 100, 100) == 0
    delays = []
    now = 100.0
    for _ in range(7):
        backoff.next("k", now)
        delays.append(backoff.remaining("k", now, now))
        now += delays[-1]
    assert delays == [10, 20, 40, 80, 160, 300, 300]


def test_a_long_quiet_time_forgets_failures() -> None:
    backoff = BackOff(10, 300)
    backoff.next("k", 0)
    backoff.next("k", 10)
    assert backoff.remaining("k", 611, 611) == 0
    backoff.next("k", 1000)
    assert backoff.delay("k") == 10


def test_keys_do_not_know_each_other() -> None:
    backoff = BackOff(10, 300)
    backoff.next("a", 0)
    assert backoff.remaining("b", 0, 0) == 0


def test_difference_holds_changed_parts_only() -> None:
    ready = {"type": "Ready", "status": "True", "lastProbeTime": None}
    old = {
        "phase": "Pending",
        "podIP": "1",
        "reason": "x",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    new = {"phase": "Running", "podIP": "1", "conditions": [ready, {"type": "Initialized", "status": "True"}]}
    assert difference(old, new) == {
        "phase": "Running",
        "reason": None,
        "conditions": [{"type": "Initialized", "status": "True"}],
    }


def test_a_condition_that_became_true_loses_its_reason_and_message() -> None:
    old = {"conditions": [{"type": "Ready", "status": "False", "reason": "r", "message": "m"}]}
    new = {"conditions": [{"type": "Ready", "status": "True"}]}
    cleared = {"type": "Ready", "status": "True", "reason": None, "message": None}
    assert difference(old, new) == {"conditions": [cleared]}


def test_equal_statuses_differ_in_nothing() -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert difference(status, status) == {}


def test_difference_takes_back_an_address_and_a_reason_that_are_no_more() -> None:
    old = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "reason": "Gone"}
    assert difference(old, {"phase": "Running"}) == {"podIP": None, "podIPs": None, "reason": None}


def test_difference_replaces_addresses_which_a_merge_would_add_to_the_old_ones() -> None:
    old = {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIPs": [{"ip": "192.0.2.1"}]}
    new = {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}], "hostIPs": [{"ip": "192.0.2.1"}]}
    assert difference(old, new) == {
        "podIP": "10.0.0.2",
        "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}],
    }
