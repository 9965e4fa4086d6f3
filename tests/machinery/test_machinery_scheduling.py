"""A pod fits a node or is told why not, in kube-scheduler's words."""

from __future__ import annotations

import pytest

from sublet.machinery import scheduling
from sublet.machinery.scheduling import NodeUsage, matches_expression, misfits, tolerates


def node(labels=None, allocatable=None, **spec):
    return {
        "metadata": {"name": "n1", "labels": labels or {"zone": "a", "size": "5"}},
        "spec": spec,
        "status": {"allocatable": allocatable or {"cpu": "1", "memory": "1Gi", "pods": "2"}},
    }


def pod(cpu="100m", port=None, **spec):
    ports = [port] if port else []
    return {"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}, "ports": ports}]} | spec}


def why(one, on, others=()):
    return misfits(one, on, NodeUsage(on, others))


def test_a_pod_fits():
    assert why(pod(), node()) == []


def test_too_little_is_free():
    assert why(pod("1001m"), node()) == ["Insufficient cpu"]
    assert why(pod("500m"), node(), [pod("501m")]) == ["Insufficient cpu"]
    assert why(pod(), node(), [pod(), pod()]) == ["Too many pods"]
    wants = {"spec": {"containers": [{"resources": {"requests": {"example.com/gpu": "1", "memory": "2Gi"}}}]}}
    assert why(wants, node()) == ["Insufficient example.com/gpu", "Insufficient memory"]


def test_what_is_removed_is_free_again():
    used = NodeUsage(node(), [pod("1")])
    used.remove(pod("1"))
    assert misfits(pod("1"), node(), used) == [] and used.pods == 0


def test_a_pod_may_name_its_node():
    assert why(pod(nodeName="n2"), node()) == ["node(s) didn't match the requested node name"]
    assert why(pod(nodeName="n1"), node()) == []


def test_a_cordoned_node_takes_only_who_tolerates_it():
    assert why(pod(), node(unschedulable=True)) == ["node(s) were unschedulable"]
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert why(pod(tolerations=[toleration]), node(unschedulable=True)) == []


def test_a_taint_is_named():
    tainted = node(taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
    assert why(pod(), tainted) == ["node(s) had untolerated taint {k: v}"]
    assert why(pod(tolerations=[{"key": "k", "value": "v"}]), tainted) == []
    assert why(pod(), node(taints=[{"key": "k", "effect": "PreferNoSchedule"}])) == []


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k"}, False),
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration, expected):
    assert tolerates(toleration, {"key": "k", "value": "v", "effect": "NoSchedule"}) is expected


def test_the_node_selector_must_match():
    assert why(pod(nodeSelector={"zone": "b"}), node()) == [
        "node(s) didn't match Pod's node affinity/selector"
    ]
    assert why(pod(nodeSelector={"zone": "a"}), node()) == []


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("In", "zone", ["a", "b"], True),
        ("NotIn", "zone", ["a"], False),
        ("NotIn", "none", ["a"], True),
        ("Exists", "zone", None, True),
        ("DoesNotExist", "zone", None, False),
        ("Gt", "size", ["4"], True),
        ("Lt", "size", ["4"], False),
        ("Gt", "zone", ["4"], False),
        ("Is", "zone", ["a"], False),
    ],
)
def test_node_selector_operators(operator, key, values, expected):
    requirement = {"operator": operator, "key": key, "values": values}
    assert matches_expression(requirement, {"zone": "a", "size": "5"}) is expected


def required(*terms):
    return {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    }


def test_one_term_of_the_affinity_must_hold_and_an_empty_one_never_does():
    never = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert why(pod(affinity=required(never, here)), node()) == []
    assert why(pod(affinity=required(never)), node()) == [scheduling.AFFINITY]
    assert why(pod(affinity=required({})), node()) == [scheduling.AFFINITY]


def test_preferences_add_up():
    term = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
    preferred = [{"weight": 5, "preference": term}, {"weight": 7, "preference": {}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    assert scheduling.preference(pod(affinity=affinity), node()) == 5


def test_host_ports_clash_by_protocol_and_address():
    taken = [pod(port={"hostPort": 80, "hostIP": "10.0.0.1"})]
    assert why(pod(port={"hostPort": 80}), node(), taken) == [scheduling.PORTS]
    assert why(pod(port={"hostPort": 80, "hostIP": "10.0.0.2"}), node(), taken) == []
    assert why(pod(port={"hostPort": 80, "protocol": "UDP"}), node(), taken) == []
    assert why(pod(port={"containerPort": 80}), node(), taken) == []
