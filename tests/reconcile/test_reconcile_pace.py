"""How fast pods are made for owners whose pods come to nothing."""

from __future__ import annotations

from typing import Any

from sublet.machinery import objects
from sublet.reconcile.pace import PER_SECOND, Pace, come_to_nothing

NOW = 1_000_000.0


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return NOW + self.at

    def monotonic(self) -> float:
        return self.at


def failed(seconds_ago: float) -> Any:
    made = objects.rfc3339(NOW - seconds_ago)
    return {"metadata": {"creationTimestamp": made}, "status": {"phase": "Failed"}}


def unseen() -> Any:
    return {"metadata": {"creationTimestamp": objects.rfc3339(NOW)}, "spec": {}}


def waiting() -> Any:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"metadata": {"creationTimestamp": objects.rfc3339(NOW)}, "status": {"conditions": [condition]}}


def test_pods_that_failed_long_ago_do_not_count() -> None:
    assert come_to_nothing([failed(1)] * 20, 3, NOW)
    assert not come_to_nothing([failed(100)] * 1000, 3, NOW)


def test_all_pods_may_fail_once_before_more_come_slowly() -> None:
    assert not come_to_nothing([failed(1)] * 99, 100, NOW)
    assert come_to_nothing([failed(1)] * 100, 100, NOW)


def test_many_pods_without_room_are_enough() -> None:
    assert not come_to_nothing([waiting()] * 499, 1000, NOW)
    assert come_to_nothing([waiting()] * 500, 1000, NOW)


def test_pods_that_the_scheduler_has_not_come_to_count_once_some_found_no_room() -> None:
    assert not come_to_nothing([unseen()] * 5000, 10_000, NOW)
    assert come_to_nothing([*[waiting()] * 20, *[unseen()] * 480], 1000, NOW)


def test_twenty_pods_come_in_a_second() -> None:
    clock = Hand()
    pace = Pace(clock)
    assert pace.allows("a", 500) == (PER_SECOND, 1.0)
    clock.at = 0.25
    assert pace.allows("a", 480) == (0, 0.75)
    assert pace.allows("b", 3) == (3, 1.0)
    clock.at = 1.0
    assert pace.allows("a", 480) == (PER_SECOND, 1.0)
