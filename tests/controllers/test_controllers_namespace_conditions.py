"""What a namespace that is going away says about what keeps it."""

from sublet.controllers.namespace import Remains, conditions, deletable
from sublet.kinds.resources import resource
from sublet.reconcile.discovery import Discovered, Discovery


def test_remaining_objects_and_finalizers_are_named() -> None:
    remains = Remains(counts={"pods.": 2, "deployments.apps": 1})
    remains.finalizers.update(["example.com/keep"])
    found = {c["type"]: c for c in conditions(remains, (), 0.0)}
    assert found["NamespaceContentRemaining"]["message"] == (
        "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
    )
    assert found["NamespaceFinalizersRemaining"]["status"] == "True"
    assert found["NamespaceDeletionContentFailure"]["status"] == "False"
    assert len(found) == 5


def test_conditions_that_did_not_change_keep_their_time() -> None:
    first = conditions(Remains(counts={"pods.": 1}), (), 0.0)
    assert conditions(Remains(counts={"pods.": 1}), first, 100.0) == first


def test_pods_are_deleted_before_everything_else() -> None:
    verbs = frozenset({"delete", "list", "deletecollection"})
    names = ("configmaps", "pods", "deployments.apps", "nodes")
    discovery = Discovery(tuple(Discovered(resource(name), verbs) for name in names))
    assert [each.plural for each in deletable(discovery)] == ["pods", "configmaps", "deployments"]


def test_groups_that_cannot_be_asked_are_told_of_as_clients_tell_of_them() -> None:
    found = {c["type"]: c for c in conditions(Remains(undiscovered=["metrics.k8s.io/v1beta1"]), (), 0.0)}
    assert found["NamespaceDeletionDiscoveryFailure"]["status"] == "True"
    assert found["NamespaceDeletionDiscoveryFailure"]["message"] == (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        "metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"
    )
