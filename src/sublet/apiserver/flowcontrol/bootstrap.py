"""The priority levels and flow schemas that every cluster has (reference B.20)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.machinery.kind import Object

_API_VERSION = "flowcontrol.apiserver.k8s.io/v1"
PRODUCER = "api-priority-and-fairness-config-producer-v1"
"""The manager of the fields of flow objects that the server makes."""
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = frozenset(("exempt", "catch-all"))
"""Names of the objects of both kinds whose spec nobody may change."""
_LEVELS: Sequence[tuple[str, int, int, tuple[int, int, int]]] = (
    ("system", 30, 33, (64, 6, 50)),
    ("node-high", 40, 25, (64, 6, 50)),
    ("leader-election", 10, 0, (16, 4, 50)),
    ("workload-high", 40, 50, (128, 6, 50)),
    ("workload-low", 100, 90, (128, 6, 50)),
    ("global-default", 20, 50, (128, 6, 50)),
)
"""(name, shares, lendable percent, (queues, hand size, queue length))."""

_ANYTHING = {
    "verbs": ["*"],
    "apiGroups": ["*"],
    "resources": ["*"],
    "namespaces": ["*"],
    "clusterScope": True,
}
_ANY_PATH = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_EVERYTHING: dict[str, Any] = {"resourceRules": [_ANYTHING], "nonResourceRules": [_ANY_PATH]}


def flow_objects() -> tuple[list[Object], list[Object]]:
    """(PriorityLevelConfigurations, FlowSchemas)."""
    return [*_fixed_levels(), *(_level(*row) for row in _LEVELS)], list(_schemas())


def _fixed_levels() -> list[Object]:
    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    limited = {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}
    return [
        _object("PriorityLevelConfiguration", "exempt", exempt),
        _object("PriorityLevelConfiguration", "catch-all", {"type": "Limited", "limited": limited}),
    ]


def _level(name: str, shares: int, lendable: int, queuing: tuple[int, int, int]) -> Object:
    queues, hand, length = queuing
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {
            "type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
        },
    }
    return _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def _schemas() -> list[Object]:
    masters, nodes = _group("system:masters"), _group("system:nodes")
    everyone = [_group("system:unauthenticated"), _group("system:authenticated")]
    manager, scheduler = _user("system:kube-controller-manager"), _user("system:kube-scheduler")
    accounts = _account("*", "kube-system")
    endpoint_writers = [
        manager,
        *(_account(f"{name}-controller", "kube-system") for name in ("endpoint", "endpointslicemirroring")),
    ]
    endpoints = _resources(["get", "create", "update"], [""], ["endpoints"], ["*"])
    leases = _resources(["get", "create", "update"], ["coordination.k8s.io"], ["leases"], ["*"])
    probes = {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}
    node_status = {
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": True, "namespaces": ["*"]},
            {"verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]},
        ]
    }  # fmt: skip
    rows: Sequence[tuple[str, int, str, list[Any], dict[str, Any]]] = (
        ("exempt", 1, "exempt", [masters], _EVERYTHING),
        ("probes", 2, "exempt", everyone, probes),
        ("system-leader-election", 100, "leader-election", [manager, scheduler, accounts], leases),
        ("endpoint-controller", 150, "workload-high", endpoint_writers, endpoints),
        ("workload-leader-election", 200, "leader-election", [accounts], leases),
        ("system-node-high", 400, "node-high", [nodes], node_status),
        ("system-nodes", 500, "system", [nodes], _EVERYTHING),
        ("kube-controller-manager", 800, "workload-high", [manager], _EVERYTHING),
        ("kube-scheduler", 800, "workload-high", [scheduler], _EVERYTHING),
        ("kube-system-service-accounts", 900, "workload-high", [accounts], _EVERYTHING),
        ("service-accounts", 9000, "workload-low", [_group("system:serviceaccounts")], _EVERYTHING),
        ("global-default", 9900, "global-default", everyone, _EVERYTHING),
        ("catch-all", 10000, "catch-all", everyone, _EVERYTHING),
    )
    return [_schema(*row) for row in rows]


def _schema(name: str, precedence: int, level: str, subjects: list[Any], rules: dict[str, Any]) -> Object:
    spec: dict[str, Any] = {
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": level},
        "rules": [{"subjects": subjects, **rules}],
    }
    if level != "exempt":
        by_namespace = level == "workload-high" and rules is _EVERYTHING
        spec["distinguisherMethod"] = {"type": "ByNamespace" if by_namespace else "ByUser"}
    return _object("FlowSchema", name, spec)


def _object(kind: str, name: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
        "spec": spec,
    }


def _group(name: str) -> dict[str, Any]:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> dict[str, Any]:
    return {"kind": "User", "user": {"name": name}}


def _account(name: str, namespace: str) -> dict[str, Any]:
    return {"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": namespace}}


def _resources(
    verbs: list[str], groups: list[str], resources: list[str], namespaces: list[str]
) -> dict[str, Any]:
    return {
        "resourceRules": [
            {"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": namespaces}
        ]
    }
