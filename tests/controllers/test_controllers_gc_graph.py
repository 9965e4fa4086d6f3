"""Who has to go, as the graph of owners sees it."""

from typing import Any

from sublet.controllers.garbage_collector.graph import Graph, Owner
from sublet.kinds.resources import resource

PODS, SETS = resource("pods"), resource("replicasets.apps")


class Seen:
    def __init__(self) -> None:
        self.checked: list[str] = []
        self.orphaned: list[str] = []
        self.graph = Graph(self.checked.append, self.orphaned.append)


def obj(uid: str, *owners: str, blocks: bool = True, **metadata: Any) -> dict[str, Any]:
    references = [
        {
            "uid": owner,
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": owner,
            "blockOwnerDeletion": blocks,
        }
        for owner in owners
    ]
    found = {"uid": uid, "name": uid, "namespace": "ns", **metadata}
    return {"metadata": found | ({"ownerReferences": references} if references else {})}


def test_a_dependent_is_checked_when_its_owner_goes() -> None:
    seen = Seen()
    seen.graph.seen(SETS, obj("rs"))
    seen.graph.seen(PODS, obj("pod", "rs"))
    assert seen.checked == []
    seen.graph.gone("rs")
    assert seen.checked == ["pod"]


def test_a_dependent_of_an_owner_never_seen_is_checked_at_once() -> None:
    seen = Seen()
    seen.graph.seen(PODS, obj("pod", "nobody"))
    assert seen.checked == ["pod"]


def test_objects_without_owners_are_only_known_by_uid() -> None:
    seen = Seen()
    seen.graph.seen(PODS, obj("alone"))
    assert seen.graph.nodes == {} and "alone" in seen.graph.present


def test_foreground_deletion_checks_the_dependents_and_then_the_owner_once_they_are_gone() -> None:
    seen = Seen()
    seen.graph.seen(SETS, obj("rs"))
    seen.graph.seen(PODS, obj("pod", "rs"))
    going = obj("rs", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["foregroundDeletion"])
    seen.graph.seen(SETS, going)
    assert set(seen.checked) == {"pod", "rs"}
    seen.checked.clear()
    seen.graph.gone("pod")
    assert seen.checked == ["rs"]


def test_taking_the_block_away_wakes_the_waiting_owner() -> None:
    seen = Seen()
    going = obj("rs", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["foregroundDeletion"])
    seen.graph.seen(SETS, going)
    seen.graph.seen(PODS, obj("pod", "rs"))
    seen.checked.clear()
    seen.graph.seen(PODS, obj("pod", "rs", blocks=False))
    assert "rs" in seen.checked


def test_an_owner_with_the_orphan_finalizer_is_handed_to_orphaning_once() -> None:
    seen = Seen()
    going = obj("rs", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["orphan"])
    seen.graph.seen(SETS, going)
    seen.graph.seen(SETS, going)
    assert seen.orphaned == ["rs"]


def test_an_owner_in_another_namespace_does_not_count() -> None:
    seen = Seen()
    seen.graph.seen(SETS, obj("rs", namespace="other"))
    owner = Owner("rs", "apps/v1", "ReplicaSet", "rs", True)
    assert seen.graph.knows(owner, "other")
    assert not seen.graph.knows(owner, "ns")


def test_the_graph_forgets_what_is_gone() -> None:
    seen = Seen()
    seen.graph.seen(SETS, obj("rs"))
    seen.graph.seen(PODS, obj("pod", "rs"))
    seen.graph.gone("pod")
    seen.graph.gone("rs")
    assert (seen.graph.nodes, seen.graph.present, seen.graph._dependents) == ({}, {}, {})
