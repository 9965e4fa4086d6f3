"""Every invariant finds the world wrong in which it is broken, and has nothing to say of one in which all is well."""

from __future__ import annotations

from typing import Any

import pytest

import invariants
from invariants import INVARIANTS, Invariant, World, broken
from sublet.machinery import objects


def obj(name: str, namespace: str = "n", **parts: Any) -> Any:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1, **parts.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, **parts}


def owned(name: str, owner: str, **parts: Any) -> Any:
    reference = {"kind": "K", "name": owner, "uid": f"uid-{owner}", "controller": True}
    return obj(name, metadata={"ownerReferences": [reference], **parts.pop("metadata", {})}, **parts)


def running(name: str, owner: str = "set", address: str = "10.0.0.1", **parts: Any) -> Any:
    container = {"name": "c", "resources": {"requests": {"cpu": "1"}}}
    spec = {"nodeName": "node", "containers": [container]}
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "podIP": address, "observedGeneration": 1, "conditions": [ready]}
    return owned(name, owner, spec=spec, status=status, **parts)


def well() -> dict[str, list[Any]]:
    """A namespace with a Deployment of one pod, its Service, budget and quota, and a bound claim."""
    labels = {"labels": {"app": "a"}}
    selector = {"matchLabels": {"app": "a"}}
    deployment_status = {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
    }  # fmt: skip
    addresses = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
    slice_labels = {"labels": {"kubernetes.io/service-name": "svc"}}
    return {
        "namespaces": [obj("n", "")],
        "serviceaccounts": [obj("default")],
        "configmaps": [obj("kube-root-ca.crt")],
        "nodes": [obj("node", "", status={"allocatable": {"cpu": "1", "pods": "1"}})],
        "deployments.apps": [obj("dep", spec={"replicas": 1}, status=deployment_status)],
        "replicasets.apps": [
            owned("set", "dep", spec={"replicas": 1},
                  status={"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}),
        ],
        "pods": [running("pod", metadata=labels)],
        "services": [obj("svc", spec={"selector": {"app": "a"}, "clusterIPs": ["10.96.0.1"]})],
        "endpointslices.discovery.k8s.io": [obj("slice", metadata=slice_labels, endpoints=addresses)],
        "poddisruptionbudgets.policy": [
            obj("pdb", spec={"selector": selector},
                status={"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}),
        ],
        "resourcequotas": [
            obj("q", spec={"hard": {"pods": "5", "requests.cpu": "5"}},
                status={"used": {"pods": "1", "requests.cpu": "1"}}),
        ],
        "persistentvolumeclaims": [obj("c", spec={"volumeName": "v"}, status={"phase": "Bound"})],
        "persistentvolumes": [obj("v", "", spec={"claimRef": {"uid": "uid-c"}}, status={"phase": "Bound"})],
    }  # fmt: skip


def test_a_world_in_which_all_is_well_is_not_complained_about() -> None:
    assert broken(World(well())) == []


def _changed(plural: str, name: str, **parts: Any) -> dict[str, list[Any]]:
    world = well()
    for each in world[plural]:
        if objects.name(each) == name:
            for part, value in parts.items():
                each[part] = {**each.get(part, {}), **value}
    return world


def _with(plural: str, *more: Any) -> dict[str, list[Any]]:
    world = well()
    world[plural] = [*world.get(plural, []), *more]
    return world


def _without(plural: str) -> dict[str, list[Any]]:
    return {**well(), plural: []}


TWO = [{"kind": "K", "name": n, "uid": f"uid-{n}", "controller": True} for n in ("set", "dep")]
JOB = obj("job", spec={"completions": 2, "completionMode": "Indexed"},
          status={"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]})  # fmt: skip
STATEFUL = obj("db", spec={"replicas": 2}, status={"observedGeneration": 1, "readyReplicas": 2})
DAEMON = obj(
    "agent", spec={}, status={"observedGeneration": 1, "desiredNumberScheduled": 1, "numberReady": 1}
)
BROKEN: list[tuple[Invariant, dict[str, list[Any]]]] = [
    (invariants.one_controller, _changed("pods", "pod", metadata={"ownerReferences": TWO})),
    (invariants.no_orphan, _without("replicasets.apps")),
    (invariants.no_stuck_deletion, _changed("pods", "pod", metadata={"deletionTimestamp": "x"})),
    (invariants.no_object_without_its_namespace, _without("namespaces")),
    (invariants.namespaces_have_what_all_have, _without("configmaps")),
    (invariants.pods_are_on_nodes_that_are_there, _without("nodes")),
    (invariants.no_node_is_overfull, _with("pods", running("other", address="10.0.0.2"))),
    (invariants.pod_addresses_are_unique, _with("pods", running("other"))),
    (
        invariants.node_agents_know_the_newest_specification,
        _changed("pods", "pod", metadata={"generation": 2}),
    ),
    (
        invariants.workloads_have_seen_their_specification,
        _changed("deployments.apps", "dep", metadata={"generation": 2}),
    ),
    (invariants.replica_sets_have_as_many_pods_as_asked, _without("pods")),
    (invariants.deployments_are_complete, _changed("replicasets.apps", "set", spec={"replicas": 2})),
    (invariants.stateful_sets_have_each_ordinal_once, _with("statefulsets.apps", STATEFUL)),
    (invariants.daemon_sets_have_one_pod_per_node, _with("daemonsets.apps", DAEMON)),
    (invariants.jobs_have_counted_every_pod, _with("jobs.batch", JOB)),
    (
        invariants.budgets_count_their_pods,
        _changed("poddisruptionbudgets.policy", "pdb", status={"currentHealthy": 2}),
    ),
    (invariants.endpoints_are_the_ready_pods, _without("endpointslices.discovery.k8s.io")),
    (
        invariants.service_addresses_are_unique,
        _with("services", obj("two", spec={"clusterIPs": ["10.96.0.1"]})),
    ),
    (invariants.claims_and_volumes_agree, _without("persistentvolumes")),
    (invariants.quotas_count_what_is_there, _changed("resourcequotas", "q", status={"used": {"pods": "2"}})),
]


@pytest.mark.parametrize(("invariant", "world"), BROKEN, ids=[each.__name__ for each, _ in BROKEN])
def test_an_invariant_says_what_breaks_it(invariant: Invariant, world: dict[str, list[Any]]) -> None:
    assert list(invariant(World(world)))


def test_each_invariant_is_tried() -> None:
    assert {each for each, _ in BROKEN} == set(INVARIANTS)
