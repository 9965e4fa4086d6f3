"""What is taken of devices that several may have, and how they are shared out."""

from __future__ import annotations

import pytest
from test_scheduler_allocation import claim, device, names, offer, request, solve

from sublet.scheduler.allocation import allocate
from sublet.scheduler.capacity import consumed
from sublet.scheduler.devices import pools, shares

RANGE = {"default": "2Gi", "validRange": {"min": "1Gi", "step": "2Gi", "max": "7Gi"}}
VALUES = {"default": "1Gi", "validValues": ["1Gi", "4Gi", "8Gi"]}


@pytest.mark.parametrize(
    ("policy", "asked", "taken"),
    [
        (None, None, "8Gi"), (None, "3Gi", "3Gi"), (None, "9Gi", None),
        (RANGE, None, "2Gi"), (RANGE, "1", "1Gi"), (RANGE, "2Gi", "3Gi"), (RANGE, "7Gi", "7Gi"), (RANGE, "7.5Gi", None),
        (VALUES, None, "1Gi"), (VALUES, "2Gi", "4Gi"), (VALUES, "8Gi", "8Gi"), (VALUES, "8.5Gi", None),
    ],
)  # fmt: skip
def test_a_share_is_what_the_policy_makes_of_what_is_asked_for(policy, asked, taken):
    stated = {"value": "8Gi", **({"requestPolicy": policy} if policy else {})}
    wanted = {"capacity": {"requests": {"memory": asked}}} if asked else {}
    found = consumed(wanted, {"capacity": {"memory": stated}})
    assert (found and found["memory"].canonical()) == taken


def test_a_device_without_a_capacity_that_is_asked_for_does_not_suit():
    assert consumed({"capacity": {"requests": {"memory": "1Gi"}}}, {}) is None


def card(name="card", **more):
    return device(name, allowMultipleAllocations=True, capacity={"memory": {"value": "8Gi"}}, **more)


def part(name, amount, **more):
    return request(name, capacity={"requests": {"memory": amount}}, **more)


def test_a_device_is_given_to_several_until_its_capacity_is_used_up():
    slices = [offer(card())]
    found = solve([claim(part("a", "5Gi"), uid="one"), claim(part("b", "3Gi"), uid="two")], slices)
    (one,), (two,) = (found[uid]["devices"]["results"] for uid in ("one", "two"))
    assert (one["consumedCapacity"], two["consumedCapacity"]) == ({"memory": "5Gi"}, {"memory": "3Gi"})
    assert one["shareID"] != two["shareID"]
    assert solve([claim(part("a", "5Gi"), part("b", "4Gi"))], slices) is None
    given = shares(found.values())
    third = [claim(part("c", "1Gi"), uid="three")]
    args = ({"metadata": {"name": "a"}}, pools(slices))
    from test_scheduler_allocation import CLASSES, Selectors

    assert allocate(third, *args, CLASSES, set(), Selectors(), given) is None
    assert allocate(third, *args, CLASSES, set(), Selectors(), shares([found["one"]])) is not None


def test_one_request_may_have_several_parts_of_a_device_unless_they_must_differ():
    slices = [offer(card("x", attributes={"slot": 1}), card("y", attributes={"slot": 2}))]
    assert names(solve([claim(part("a", "2Gi", count=3))], slices)) == ["x", "x", "x"]
    apart = {"distinctAttribute": "gpu.example.com/slot"}
    assert names(solve([claim(part("a", "2Gi", count=2), constraints=[apart])], slices)) == ["x", "y"]


def test_an_allocation_says_what_has_to_be_true_before_a_pod_is_bound():
    ready = {"bindsToNode": True, "bindingConditions": ["Ready"], "bindingFailureConditions": ["Failed"]}
    found = solve([claim(request())], [offer(device("d", **ready), node="", allNodes=True)])["c"]
    (result,) = found["devices"]["results"]
    assert (result["bindingConditions"], result["bindingFailureConditions"]) == (["Ready"], ["Failed"])
    (term,) = found["nodeSelector"]["nodeSelectorTerms"]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "In", "values": ["a"]}]
