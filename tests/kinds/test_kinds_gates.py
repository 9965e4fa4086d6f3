"""Fields of features that are off: dropped, unless the object uses them already."""

from __future__ import annotations

import copy

import pytest

from sublet.kinds import catalog
from sublet.machinery.kind import Kind, Object

KINDS = {kind.resource.kind: kind for kind in catalog.load("1.36").values()}


def pod_spec(**further: object) -> Object:
    source = {"clusterTrustBundle": {"path": "p"}, "secret": {"name": "s"}}
    volume = {"name": "v", "projected": {"sources": [source]}}
    return {"volumes": [volume], "schedulingGroup": {"podGroupName": "g"}, **further}


def created(kind: Kind, obj: Object) -> Object:
    made = copy.deepcopy(obj)
    kind.prepare_create(made)
    return made


def test_a_pod_is_made_without_fields_of_features_that_are_off() -> None:
    spec = created(KINDS["Pod"], {"metadata": {"name": "a"}, "spec": pod_spec()})["spec"]
    assert "schedulingGroup" not in spec
    assert spec["volumes"][0]["projected"]["sources"] == [{"secret": {"name": "s"}}]


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet", "Job", "ReplicaSet", "StatefulSet"])
def test_so_is_a_template(kind: str) -> None:
    obj = {"metadata": {"name": "a"}, "spec": {"template": {"spec": pod_spec()}}}
    assert "schedulingGroup" not in created(KINDS[kind], obj)["spec"]["template"]["spec"]


def test_a_pod_that_uses_a_field_keeps_it_and_gains_no_other() -> None:
    old: Object = {"metadata": {"name": "a"}, "spec": {"schedulingGroup": {"podGroupName": "g"}}}
    new: Object = {"metadata": {"name": "a"}, "spec": pod_spec()}
    KINDS["Pod"].prepare_update(new, old)
    assert new["spec"]["schedulingGroup"] == {"podGroupName": "g"}
    assert new["spec"]["volumes"][0]["projected"]["sources"] == [{"secret": {"name": "s"}}]


def test_drivers_and_devices_lose_theirs_too() -> None:
    driver = created(KINDS["CSIDriver"], {"metadata": {}, "spec": {"preventPodSchedulingIfMissing": True}})
    assert driver["spec"] == {}
    device = {"name": "d", "nodeAllocatableResourceMappings": {"cpu": {}}, "attributes": {"a": {"ints": [1]}}}
    offered = created(KINDS["ResourceSlice"], {"metadata": {}, "spec": {"devices": [device]}})
    assert offered["spec"]["devices"] == [{"name": "d", "attributes": {"a": {}}}]


def test_a_lease_is_made_without_what_elects_by_version() -> None:
    lease = created(KINDS["Lease"], {"metadata": {}, "spec": {"strategy": "x", "preferredHolder": "p"}})
    assert lease["spec"] == {}


def test_a_lease_that_has_it_is_judged_by_it() -> None:
    def refused(**spec: str) -> list[str]:
        return [str(error) for error in KINDS["Lease"].validate({"metadata": {}, "spec": spec})]

    assert refused(preferredHolder="p") == [
        "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"
    ]
    assert refused(strategy="x", preferredHolder="p") == [
        'spec.strategy.strategy: Unsupported value: "x": supported values: "OldestEmulationVersion"'
    ]
