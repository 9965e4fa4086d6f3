"""What becomes of objects between decoding and storage: conversions, defaults and what strategies set (``prepared.yaml``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sublet.kinds import catalog
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import BadRequest

HERE = Path(__file__).parent
SAMPLES: Mapping[str, Object] = {
    sample["kind"]: sample for sample in yaml.safe_load((HERE / "samples.yaml").read_text("utf-8"))
}
CASES = yaml.safe_load((HERE / "prepared.yaml").read_text("utf-8"))
KINDS = {kind.resource.kind: kind for kind in catalog.everything().values()}
NOW = 1_770_000_000.0


def put(obj: Any, path: str, value: Any) -> None:
    """Sets the value at ``a.0.b``; maps on the way are made."""
    *above, last = path.split(".")
    for key in above:
        obj = obj[int(key)] if isinstance(obj, list) else obj.setdefault(key, {})
    if isinstance(obj, list):
        obj[int(last)] = copy.deepcopy(value)
    else:
        obj[last] = copy.deepcopy(value)


def found(obj: Any, path: str) -> Any:
    for key in path.split("."):
        obj = obj[int(key)] if isinstance(obj, list) else (obj or {}).get(key)
    return obj


def stored(kind: Kind, values: Mapping[str, Any]) -> Object:
    obj = copy.deepcopy(SAMPLES[kind.resource.kind])
    for path, value in values.items():
        put(obj, path, value)
    kind.default(obj)
    kind.prepare_create(obj)
    if kind.stamp is not None:
        kind.stamp(obj, None, NOW)
    kind.default(obj)
    return obj


def changed(kind: Kind, old: Object, values: Mapping[str, Any]) -> Object:
    new = copy.deepcopy(old)
    for path, value in values.items():
        put(new, path, value)
    kind.default(new)
    kind.prepare_update(new, old)
    if kind.stamp is not None:
        kind.stamp(new, old, NOW)
    return new


def reported(kind: Kind, had: Object, status: Object) -> Object:
    old = stored(kind, {})
    old["status"] = copy.deepcopy(had)
    new = {**copy.deepcopy(old), "status": copy.deepcopy(status)}
    kind.default(new)
    kind.prepare_status(new, old)
    if kind.stamp is not None:
        kind.stamp(new, old, NOW)
    return new


def called(case: Mapping[str, Any]) -> str:
    return f"{case['of']}: {', '.join(case.get('set') or case['report'])}"


@pytest.mark.parametrize("case", CASES, ids=called)
def test_an_object_is_prepared_as_kubernetes_prepares_it(case: Mapping[str, Any]) -> None:
    kind = KINDS[case["of"]]
    if "report" in case:
        obj = reported(kind, case["had"], case["report"])
    elif "before" in case:
        obj = changed(kind, stored(kind, case["before"]), case["set"])
    else:
        obj = stored(kind, case["set"])
    assert {path: found(obj, path) for path in case["then"]} == case["then"]


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("Deployment", "deprecated.deployment.rollback.to"),
        ("DaemonSet", "deprecated.daemonset.template.generation"),
    ],
)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "invalid syntax"),
        ("", "invalid syntax"),
        ("1_0", "invalid syntax"),
        ("9223372036854775808", "value out of range"),
    ],
)
def test_an_annotation_in_place_of_a_field_must_be_a_number(
    kind: str, note: str, text: str, why: str
) -> None:
    obj = copy.deepcopy(SAMPLES[kind])
    obj["metadata"]["annotations"] = {note: text}
    with pytest.raises(BadRequest) as refused:
        KINDS[kind].default(obj)
    assert refused.value.message == (
        f'{kind} in version "v1" cannot be handled as a {kind}: strconv.ParseInt: parsing "{text}": {why}'
    )


def test_a_gated_pod_tells_since_when() -> None:
    pod = stored(KINDS["Pod"], {"spec.schedulingGates": [{"name": "a"}]})
    (condition,) = pod["status"]["conditions"]
    assert condition["lastTransitionTime"] == "2026-02-02T02:40:00Z"
    assert condition["lastProbeTime"] is None


def test_a_volume_keeps_the_time_of_its_phase_while_the_phase_stays() -> None:
    kind = KINDS["PersistentVolume"]
    since = {"lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}
    before = {"phase": "Available", **since}
    assert reported(kind, before, {"phase": "Available"})["status"] == before
    now = {"lastPhaseTransitionTime": "2026-02-02T02:40:00Z"}
    assert reported(kind, before, {"phase": "Bound", **since})["status"] == {"phase": "Bound", **now}
    told = {"phase": "Bound", "lastPhaseTransitionTime": "2026-01-02T00:00:00Z"}
    assert reported(kind, before, told)["status"] == told


def test_an_apiservice_without_a_service_is_available_at_once() -> None:
    kind = KINDS["APIService"]
    local = {"spec.service": None}
    assert stored(kind, local)["status"]["conditions"] == [
        {
            "type": "Available",
            "status": "True",
            "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": "2026-02-02T02:40:00Z",
        }
    ]
    assert stored(kind, {})["status"] == {}


def test_endpoints_from_before_there_were_node_names_keep_their_node() -> None:
    kind = KINDS["EndpointSlice"]
    old = stored(kind, {})
    host = "kubernetes.io/hostname"
    old["endpoints"] = [
        {"addresses": ["10.0.0.1"], "conditions": {}, "deprecatedTopology": {host: "n"}},
        {"addresses": ["10.0.0.2"], "conditions": {}, "deprecatedTopology": {host: "m"}, "nodeName": "k"},
    ]
    assert changed(kind, old, {"metadata.labels": {"a": "b"}})["endpoints"] == old["endpoints"]
    other = {"addresses": ["10.0.0.3"], "deprecatedTopology": {host: "other"}}
    assert changed(kind, old, {"endpoints": [*old["endpoints"], other]})["endpoints"] == [
        {"addresses": ["10.0.0.1"], "conditions": {}, "nodeName": "n"},
        {"addresses": ["10.0.0.2"], "conditions": {}, "nodeName": "k"},
        {"addresses": ["10.0.0.3"], "conditions": {}},
    ]
