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


def test_a_container_loses_its_stop_signal_and_an_otherwise_empty_lifecycle() -> None:
    alone, more = {"stopSignal": "SIGHUP"}, {"stopSignal": "SIGHUP", "preStop": {"sleep": {"seconds": 1}}}
    containers = [{"name": "a", "lifecycle": alone}, {"name": "b", "lifecycle": more}]
    spec = created(KINDS["Pod"], {"metadata": {"name": "a"}, "spec": {"containers": containers}})["spec"]
    assert spec["containers"] == [
        {"name": "a"},
        {"name": "b", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}},
    ]


def test_a_reported_volume_loses_its_image() -> None:
    mount = {"name": "v", "mountPath": "/v", "volumeStatus": {"image": {"imageRef": "r@sha256:1"}}}
    new: Object = {
        "metadata": {},
        "spec": {},
        "status": {
            "containerStatuses": [{"volumeMounts": [mount]}],
            "nodeAllocatableResourceClaimStatuses": [],
        },
    }
    KINDS["Pod"].prepare_status(new, {"metadata": {}, "spec": {}, "status": {}})
    assert new["status"]["containerStatuses"] == [{"volumeMounts": [{"name": "v", "mountPath": "/v"}]}]
    assert "nodeAllocatableResourceClaimStatuses" not in new["status"]


def test_a_node_keeps_an_old_source_of_its_kubelets_configuration_but_gets_none() -> None:
    source = {"configMap": {"name": "c"}}
    assert created(KINDS["Node"], {"metadata": {}, "spec": {"configSource": source}})["spec"] == {}
    for before, after in (({}, {}), ({"configSource": {}}, {"configSource": source})):
        new: Object = {"metadata": {}, "spec": {"configSource": source}, "status": {"config": {"error": "x"}}}
        old: Object = {"metadata": {}, "spec": before, "status": {}}
        KINDS["Node"].prepare_update(new, old)
        assert new["spec"] == after
    new = {"metadata": {}, "spec": {}, "status": {"config": {"error": "x"}}}
    KINDS["Node"].prepare_status(new, {"metadata": {}, "spec": {}, "status": {}})
    assert new["status"] == {}


CLAIM = {"kind": "PersistentVolumeClaim", "name": "a"}
OTHER = {"apiGroup": "example.com", "kind": "Populator", "name": "a"}
ELSEWHERE = {**CLAIM, "namespace": "far"}
SOURCES: dict[str, tuple[Object, Object, Object]] = {
    "the old field is copied": ({"dataSource": CLAIM}, {}, {"dataSource": CLAIM, "dataSourceRef": CLAIM}),
    "the new field is copied": ({"dataSourceRef": OTHER}, {}, {"dataSource": OTHER, "dataSourceRef": OTHER}),
    "an odd kind is dropped from the old field": ({"dataSource": OTHER}, {}, {}),
    "one beside the new field is judged": (
        {"dataSource": OTHER, "dataSourceRef": CLAIM},
        {},
        {"dataSource": OTHER, "dataSourceRef": CLAIM},
    ),
    "another namespace is dropped": ({"dataSourceRef": ELSEWHERE}, {}, {}),
    "an update that leaves out the new field keeps it": (
        {"dataSource": OTHER},
        {"dataSource": OTHER, "dataSourceRef": OTHER},
        {"dataSource": OTHER, "dataSourceRef": OTHER},
    ),
    "another namespace that was there stays": (
        {"dataSourceRef": ELSEWHERE},
        {"dataSourceRef": ELSEWHERE},
        {"dataSourceRef": ELSEWHERE},
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_the_two_fields_of_a_claims_source_agree(case: str) -> None:
    spec, before, after = SOURCES[case]
    new: Object = {"metadata": {}, "spec": copy.deepcopy(spec)}
    if before:
        KINDS["PersistentVolumeClaim"].prepare_update(new, {"metadata": {}, "spec": copy.deepcopy(before)})
    else:
        KINDS["PersistentVolumeClaim"].prepare_create(new)
    assert new["spec"] == after


def test_a_source_that_a_node_keeps_is_judged() -> None:
    def node(source: Object) -> Object:
        return {"metadata": {"name": "n"}, "spec": {"configSource": source}, "status": {}}

    new, old = node({"configMap": {"uid": "x", "name": ""}}), node({})
    assert [str(error) for error in KINDS["Node"].validate_update(new, old)] == [
        "spec.configSource.configMap.uid: Forbidden: uid must not be set in spec",
        "spec.configSource.configMap.namespace: Required value",
        "spec.configSource.configMap.name: Required value",
        "spec.configSource.configMap.kubeletConfigKey: Required value",
    ]


def test_an_account_names_its_secrets_and_says_no_more_of_them() -> None:
    listed = [{"name": "s", "namespace": "n", "kind": "Secret"}, {}]
    assert created(KINDS["ServiceAccount"], {"metadata": {}, "secrets": listed})["secrets"] == [
        {"name": "s"},
        {},
    ]
    new: Object = {"metadata": {}, "secrets": listed}
    KINDS["ServiceAccount"].prepare_update(new, {"metadata": {}})
    assert new["secrets"] == [{"name": "s"}, {}]


def test_what_is_mounted_of_processes_becomes_the_usual_where_nothing_else_can_be_asked_for() -> None:
    kind = catalog.load("1.32")["", "pods"]

    def of(value: str) -> Object:
        return {"metadata": {}, "spec": {"containers": [{"securityContext": {"procMount": value}}]}}

    assert created(kind, of("Unmasked"))["spec"] == of("Default")["spec"]
    changed = of("Unmasked")
    kind.prepare_update(changed, of("Default"))
    assert changed["spec"] == of("Default")["spec"]
    kept = of("Unmasked")
    kind.prepare_update(kept, of("Unmasked"))
    assert kept["spec"] == of("Unmasked")["spec"]


def test_the_status_of_a_pod_and_a_claim_is_of_the_features_that_are_on() -> None:
    kinds = catalog.load("1.35")
    pod: Object = {
        "metadata": {},
        "spec": {},
        "status": {"resources": {}, "allocatedResources": {"cpu": "1"}},
    }
    kinds["", "pods"].prepare_status(pod, {"metadata": {}, "spec": {}, "status": {"qosClass": "BestEffort"}})
    assert pod["status"] == {"qosClass": "BestEffort"}
    result = {"request": "r", "tolerations": [{"operator": "Exists"}]}
    claim: Object = {"metadata": {}, "status": {"allocation": {"devices": {"results": [result]}}}}
    kinds["resource.k8s.io", "resourceclaims"].prepare_status(claim, {"metadata": {}, "status": {}})
    assert claim["status"]["allocation"]["devices"]["results"] == [{"request": "r"}]
