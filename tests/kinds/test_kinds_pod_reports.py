"""Reports of pods: which statuses are refused, and what the subresources let change."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sublet.apiserver import subresources
from sublet.kinds.core.pods import KIND
from sublet.machinery.kind import Object


def pod(status: Object | None = None, **spec: Any) -> Object:
    made: Object = {
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "x:1"}], **copy.deepcopy(spec)},
    }
    KIND.default(made)
    KIND.prepare_create(made)
    made["status"].update(status or {})
    return made


def ended(name: str, code: int) -> Object:
    return {"name": name, "state": {"terminated": {"exitCode": code}}}


def running(name: str) -> Object:
    return {"name": name, "state": {"running": {}}}


FINAL = "Forbidden: may not be transitioned to non-terminated state"


@pytest.mark.parametrize(
    ("policy", "code", "allowed"),
    [("Always", 0, True), ("OnFailure", 1, True), ("OnFailure", 0, False), ("Never", 1, False)],
)
def test_what_has_ended_for_good_does_not_run_again(policy: str, code: int, allowed: bool) -> None:
    old = pod({"containerStatuses": [ended("other", 0), ended("c", code)]}, restartPolicy=policy)
    new = {**old, "status": {**old["status"], "containerStatuses": [running("c")]}}
    wanted = [] if allowed else [f"status.containerStatuses[1].state: {FINAL}"]
    assert [str(error) for error in KIND.validate_status(new, old)] == wanted


def test_an_ephemeral_container_runs_once_whatever_the_pod_does() -> None:
    old = pod({"ephemeralContainerStatuses": [ended("e", 1)]})
    new = {**old, "status": {**old["status"], "ephemeralContainerStatuses": [running("e")]}}
    wanted = [f"status.ephemeralContainerStatuses[0].state: {FINAL}"]
    assert [str(error) for error in KIND.validate_status(new, old)] == wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, []),
        (
            {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]},
            [
                'status.podIPs: Invalid value: [{"IP":"10.0.0.1"},{"IP":"10.0.0.2"}]: '
                "may specify no more than one IP for each IP family"
            ],
        ),
        (
            {"podIPs": [{"ip": "x"}]},
            [
                'status.podIPs[0]: Invalid value: "x": must be a valid IP address, '
                "(e.g. 10.9.8.7 or 2001:db8::ffff)"
            ],
        ),
        (
            {"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]},
            ['status.hostIPs[0].ip: Invalid value: "10.0.0.2": must be equal to `hostIP`'],
        ),
        ({"qosClass": "Guaranteed"}, ['status.qosClass: Invalid value: "Guaranteed": field is immutable']),
    ],
)
def test_a_status_is_refused_for(status: Object, wanted: list[str]) -> None:
    old = pod()
    new = {**old, "status": {**old["status"], **status}}
    assert [str(error) for error in KIND.validate_status(new, old)] == wanted


AMOUNTS: Object = {
    "requests": {"cpu": "1", "example.com/x": "1"},
    "limits": {"cpu": "2", "example.com/x": "1"},
}


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({**AMOUNTS, "requests": {"cpu": "2", "example.com/x": "1"}}, []),
        (
            {**AMOUNTS, "requests": {"cpu": "3", "example.com/x": "1"}},
            [
                'spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to cpu limit of 2'
            ],
        ),
        (
            {**AMOUNTS, "limits": {"example.com/x": "1"}},
            ["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
        ),
        (
            {"requests": {"cpu": "1", "example.com/x": "2"}, "limits": {"cpu": "2", "example.com/x": "2"}},
            ["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            {
                "requests": {"cpu": "2", "memory": "1Gi", "example.com/x": "1"},
                "limits": {"cpu": "2", "memory": "1Gi", "example.com/x": "1"},
            },
            ['spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'],
        ),
    ],
)
def test_a_resize_is_refused_for(resources: Object, wanted: list[str]) -> None:
    old = pod(containers=[{"name": "c", "image": "x:1", "resources": AMOUNTS}])
    new = pod(containers=[{"name": "c", "image": "x:1", "resources": resources}])
    new["status"] = old["status"]
    prepare, validate = subresources.RULES["resize"]
    prepare(new, old)
    assert [str(error) for error in validate(new, old)] == wanted


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("resize", "static pods cannot be resized"),
        ("ephemeralcontainers", "static pods do not support ephemeral containers"),
    ],
)
def test_a_nodes_own_pod_is_not_changed_by_way_of_its_object(name: str, detail: str) -> None:
    old = pod()
    old["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert [error.body for error in subresources.RULES[name][1](old, old)] == [f"Forbidden: {detail}"]


def resized(old: Object, change: Object) -> list[str]:
    """What is wrong with an old pod whose spec becomes another."""
    new = {**old, "spec": {**copy.deepcopy(old["spec"]), **change}}
    KIND.default(new)
    prepare, validate = subresources.RULES["resize"]
    prepare(new, old)
    return [str(error) for error in validate(new, old)]


CPU: Object = {"requests": {"cpu": "1"}}
MORE: Object = {"requests": {"cpu": "2"}}
NO_ORDER = "Forbidden: {0} may not be renamed or reordered on resize"
RESIZES: dict[str, tuple[Object, Object, list[str]]] = {
    "a sidecar grows": (
        {"initContainers": [{"name": "s", "image": "x", "restartPolicy": "Always", "resources": CPU}]},
        {"initContainers": [{"name": "s", "image": "x", "restartPolicy": "Always", "resources": MORE}]},
        [],
    ),
    "an init container grows": (
        {"initContainers": [{"name": "i", "image": "x", "resources": CPU}]},
        {"initContainers": [{"name": "i", "image": "x", "resources": MORE}]},
        [],
    ),
    "the image is left as it was": ({}, {"containers": [{"name": "c", "image": "y", "resources": CPU}]}, []),
    "so is everything that is no container": ({}, {"priorityClassName": "x", "nodeName": "n"}, []),
    "a container with another name": (
        {},
        {"containers": [{"name": "d", "image": "x:1", "resources": CPU}]},
        [f"spec.containers[0].name: {NO_ORDER.format('containers')}"],
    ),
    "a container more": (
        {},
        {"containers": [{"name": "c", "image": "x:1", "resources": CPU}, {"name": "d", "image": "x"}]},
        ["spec.containers: Forbidden: containers may not be added or removed on resize"],
    ),
    "an init container less": (
        {"initContainers": [{"name": "i", "image": "x"}]},
        {"initContainers": []},
        ["spec.initContainers: Forbidden: initContainers may not be added or removed on resize"],
    ),
    "amounts of the whole grow": (
        {"resources": {"requests": {"cpu": "2"}}},
        {"resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "4"}}},
        [],
    ),
    "the whole loses its amounts": (
        {"resources": {"requests": {"cpu": "2"}}},
        {"resources": None},
        ["spec.resources: Forbidden: pod-level resources cannot be removed"],
    ),
    "the whole loses its limits": (
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}},
        {"resources": {"requests": {"cpu": "2"}}},
        ["spec.resources.limits: Forbidden: pod-level resource limits cannot be removed"],
    ),
    "the whole gains huge pages": (
        {"resources": {"requests": {"cpu": "2"}}},
        {"resources": {"requests": {"cpu": "2", "hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}}},
        ["spec: Forbidden: only cpu and memory resources are mutable at pod-level"],
    ),
}


@pytest.mark.parametrize("case", RESIZES)
def test_of_a_pod_only_amounts_are_resized(case: str) -> None:
    before, change, wanted = RESIZES[case]
    old = pod(**{"containers": [{"name": "c", "image": "x:1", "resources": CPU}], **before})
    assert resized(old, copy.deepcopy(change)) == wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"state": {"running": {}}}, ["spec: Forbidden: Pod running on node without support for resize"]),
        ({"state": {"running": {}}, "resources": {}}, []),
        ({"state": {"waiting": {}}}, []),
    ],
)
def test_a_node_that_does_not_tell_what_containers_have_resizes_none(
    status: Object, wanted: list[str]
) -> None:
    old = pod(
        {"containerStatuses": [{"name": "c", **status}]},
        containers=[{"name": "c", "image": "x", "resources": CPU}],
    )
    assert resized(old, {"containers": [{"name": "c", "resources": MORE}]}) == wanted


def test_pods_of_windows_are_not_resized() -> None:
    assert resized(pod(os={"name": "windows"}), {}) == [": Forbidden: windows pods cannot be resized"]


EXTENDED: Object = {"resources": {"requests": {"example.com/x": "1"}, "limits": {"example.com/x": "1"}}}
STATUSES: dict[str, tuple[Object, Object, Object, list[str]]] = {
    "a node is nominated for a pod that has one": (
        {"nodeName": "n"},
        {},
        {"nominatedNodeName": "m"},
        ["status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"],
    ),
    "the nominated node stays": (
        {"nodeName": "n"},
        {"nominatedNodeName": "m"},
        {"nominatedNodeName": "m"},
        [],
    ),
    "a nominated node is no name": (
        {},
        {},
        {"nominatedNodeName": "-"},
        [
            'status.nominatedNodeName: Invalid value: "-": a lowercase RFC 1123 subdomain must consist of lower case '
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
            "'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ],
    ),
    "generations are negative": (
        {},
        {},
        {"observedGeneration": -1, "conditions": [{"type": "Ready", "observedGeneration": -2}]},
        [
            "status.conditions[0].observedGeneration: Invalid value: -2: must be a non-negative integer",
            "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
        ],
    ),
    "a claim is of another pod": (
        {"resourceClaims": [{"name": "a", "resourceClaimName": "r"}]},
        {},
        {"resourceClaimStatuses": [{"name": "a"}, {"name": "a"}, {"name": "b"}]},
        [
            'status.resourceClaimStatuses[1].name: Duplicate value: "a"',
            'status.resourceClaimStatuses[2].name: Invalid value: "b": '
            "must match the name of an entry in `spec.resourceClaims`",
        ],
    ),
    "an odd address is kept": (
        {},
        {"podIPs": [{"ip": "010.0.0.1"}]},
        {"podIPs": [{"ip": "010.0.0.1"}], "phase": "Running"},
        [],
    ),
    "the claim of extended resources maps nothing": (
        {"containers": [{"name": "c", **EXTENDED}]},
        {},
        {"extendedResourceClaimStatus": {"resourceClaimName": "r", "requestMappings": []}},
        [
            "status.extendedResourceClaimStatus.requestMappings: Required value: "
            "at least one request mapping is required"
        ],
    ),
}


@pytest.mark.parametrize("case", STATUSES)
def test_a_report_is_judged_beside_the_one_before(case: str) -> None:
    spec, had, status, wanted = STATUSES[case]
    old = pod(had, **spec)
    new = {**old, "status": {**old["status"], **copy.deepcopy(status)}}
    assert [str(error) for error in KIND.validate_status(new, old)] == wanted


def test_generations_that_a_report_leaves_out_are_kept() -> None:
    conditions = [{"type": "Ready", "observedGeneration": 3}, {"type": "x"}]
    old = pod({"observedGeneration": 4, "conditions": conditions})
    new = {**old, "status": {"conditions": [{"type": "x"}, {"type": "Ready"}, {"type": "Ready"}]}}
    KIND.prepare_status(new, old)
    assert new["status"]["observedGeneration"] == 4
    assert new["status"]["conditions"] == [
        {"type": "x"},
        {"type": "Ready", "observedGeneration": 3},
        {"type": "Ready"},
    ]
    new["status"] |= {"observedGeneration": 5}
    KIND.prepare_status(new, old)
    assert new["status"]["observedGeneration"] == 5


def test_a_container_starts_again_where_the_end_of_another_starts_all() -> None:
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}
    containers = [{"name": "c"}, {"name": "d", "restartPolicy": "Never", "restartPolicyRules": [rule]}]
    old = pod({"containerStatuses": [ended("c", 1)]}, restartPolicy="Never", containers=containers)
    new = {**old, "status": {**old["status"], "containerStatuses": [running("c")]}}
    assert KIND.validate_status(new, old) == []
