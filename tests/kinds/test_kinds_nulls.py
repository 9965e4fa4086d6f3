"""Nulls that Kubernetes writes into objects whose writers left the fields out."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.kinds import catalog
from sublet.machinery.kind import Object

KINDS = {kind.resource.kind: kind for kind in catalog.everything().values()}


def defaulted(kind: str, **parts: Any) -> Object:
    obj: Object = {"metadata": {"name": "a"}, **parts}
    KINDS[kind].default(obj)
    return obj


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("Pod", {"lastProbeTime": None, "lastTransitionTime": None}),
        ("Node", {"lastHeartbeatTime": None, "lastTransitionTime": None}),
        ("Deployment", {"lastUpdateTime": None, "lastTransitionTime": None}),
        ("Namespace", {"lastTransitionTime": None}),
    ],
)
def test_a_condition_says_all_its_times(kind: str, times: Object) -> None:
    obj = defaulted(kind, status={"conditions": [{"type": "T", "status": "True"}]})
    assert obj["status"]["conditions"] == [{"type": "T", "status": "True", **times}]


def test_a_time_that_is_known_stays() -> None:
    condition = {"type": "T", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    obj = defaulted("Namespace", status={"conditions": [dict(condition)]})
    assert obj["status"]["conditions"] == [condition]


def test_a_container_is_reported_with_both_states_and_their_times() -> None:
    reported = {"name": "c", "state": {"running": {}}}
    obj = defaulted("Pod", status={"containerStatuses": [reported]})
    always = {"image": "", "imageID": "", "ready": False, "restartCount": 0}
    assert obj["status"]["containerStatuses"] == [
        {"name": "c", "state": {"running": {"startedAt": None}}, "lastState": {}, **always}
    ]


def test_what_no_node_reported_yet_is_there_as_go_writes_it() -> None:
    node: dict[str, object] = {"metadata": {"name": "n"}}
    KINDS["Node"].default(node)
    assert node["status"] == {
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": dict.fromkeys(
            (
                "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion",
                "kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture",
            ),
            "",
        ),
    }  # fmt: skip


def test_an_error_of_a_volume_has_a_time() -> None:
    attachment: dict[str, object] = {"status": {"attached": False, "attachError": {"message": "m"}}}
    KINDS["VolumeAttachment"].default(attachment)
    assert attachment["status"] == {"attached": False, "attachError": {"message": "m", "time": None}}


def test_a_class_of_any_device_has_a_spec() -> None:
    found: dict[str, object] = {"metadata": {"name": "c"}}
    KINDS["DeviceClass"].default(found)
    assert found["spec"] == {}


def test_a_taint_of_a_device_says_since_when_it_is_there() -> None:
    stamp = KINDS["ResourceSlice"].stamp
    assert stamp is not None
    old = {"key": "a", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
    found = {
        "spec": {"devices": [{"name": "d", "taints": [dict(old), {"key": "b", "effect": "NoSchedule"}]}]}
    }
    stamp(found, None, 0.0)
    assert found["spec"]["devices"][0]["taints"] == [
        old, {"key": "b", "effect": "NoSchedule", "timeAdded": "1970-01-01T00:00:00Z"},
    ]  # fmt: skip
