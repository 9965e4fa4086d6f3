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
