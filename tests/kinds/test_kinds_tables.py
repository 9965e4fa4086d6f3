"""Cells as kubectl shows them, where a kind's row is more than its fields."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.kinds import catalog
from sublet.machinery import table
from sublet.machinery.kind import Kind, Object
from sublet.machinery.objects import rfc3339

NOW = 1_770_000_000.0
BORN = {"name": "a", "creationTimestamp": rfc3339(NOW - 300)}


def kind(name: str) -> Kind:
    plural, _, group = name.partition(".")
    return catalog.everything()[group, plural]


def row(name: str, **content: Any) -> dict[str, Any]:
    """Column name -> cell."""
    found = kind(name)
    cells = table.cells(found, {"metadata": BORN, **content}, NOW)
    return dict(zip((column.name for column in found.columns), cells, strict=True))


@pytest.mark.parametrize(
    ("phase", "conditions"),
    [
        ("Running", None),
        ("Succeeded", [{"type": "Completed", "status": "True", "reason": "Succeeded",
                        "message": "The pod has completed successfully."}]),
        ("Failed", [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}]),
    ],
)  # fmt: skip
def test_a_pod_that_has_ended_says_so_in_its_row(phase: str, conditions: list[Object] | None) -> None:
    made = table.row(kind("pods"), {"metadata": BORN, "status": {"phase": phase}}, NOW)
    assert made.get("conditions") == conditions


def test_restarts_of_init_containers_count_up_to_the_one_that_runs() -> None:
    spec = {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]}
    failed = {"name": "i", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
              "lastState": {"terminated": {"exitCode": 1, "finishedAt": rfc3339(NOW - 60)}}}  # fmt: skip
    later = {"name": "j", "restartCount": 5, "state": {"waiting": {"reason": "PodInitializing"}}}
    shown = row("pods", spec=spec, status={"phase": "Pending", "initContainerStatuses": [failed, later]})
    assert (shown["Status"], shown["Restarts"], shown["Ready"]) == (
        "Init:CrashLoopBackOff",
        "2 (60s ago)",
        "0/1",
    )


def test_numbers_in_text_columns_are_numbers() -> None:
    assert row("configmaps", data={"a": "1"}, binaryData={"b": ""})["Data"] == 2
    assert row("secrets", data={"a": ""})["Data"] == 1
    assert row("controllerrevisions.apps", revision=3)["Revision"] == 3
    assert row("storageclasses.storage.k8s.io", allowVolumeExpansion=True)["AllowVolumeExpansion"] is True


def test_a_storage_class_shows_its_defaults() -> None:
    shown = row("storageclasses.storage.k8s.io", provisioner="p")
    assert (shown["ReclaimPolicy"], shown["VolumeBindingMode"]) == ("Delete", "Immediate")
    assert shown["AllowVolumeExpansion"] is False


def test_a_storage_driver_shows_what_it_asks_of_pods() -> None:
    shown = row("csidrivers.storage.k8s.io", spec={})
    assert list(shown.values()) == ["a", True, False, False, "<unset>", False, "<none>", "5m"]
    spec = {
        "attachRequired": False, "podInfoOnMount": True, "storageCapacity": True, "requiresRepublish": True,
        "tokenRequests": [{"audience": ""}, {"audience": "vault"}], "volumeLifecycleModes": ["Persistent", "Ephemeral"],
    }  # fmt: skip
    shown = row("csidrivers.storage.k8s.io", spec=spec)
    assert list(shown.values()) == ["a", False, True, True, ",vault", True, "Persistent,Ephemeral", "5m"]


def test_endpoints_are_shown_port_by_port() -> None:
    addresses = [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    ports = [{"port": 80}, {"port": 443}]
    text = row("endpoints", subsets=[{"addresses": addresses, "ports": ports}])["Endpoints"]
    assert text == "10.0.0.1:80,[fd00::1]:80,10.0.0.1:443 + 1 more..."
    assert row("endpoints", subsets=[{"addresses": addresses}])["Endpoints"] == "10.0.0.1,fd00::1"
    assert row("endpoints", subsets=[{"notReadyAddresses": addresses, "ports": ports}])["Endpoints"] == ""
    assert row("endpoints")["Endpoints"] == "<none>"


def test_an_ingress_shows_three_hosts_and_its_addresses_in_order() -> None:
    rules = [{"host": "a"}, {}, {"host": "b"}, {"host": "c"}, {}, {"host": "d"}]
    ingress = [{"ip": "10.0.0.2"}, {"hostname": "x"}, {"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]
    shown = row("ingresses.networking.k8s.io", spec={"rules": rules, "tls": [{}]},
                status={"loadBalancer": {"ingress": ingress}})  # fmt: skip
    assert shown["Hosts"] == "a,b,c + 3 more..."
    assert (shown["Class"], shown["Address"], shown["Ports"]) == ("<none>", "10.0.0.1,10.0.0.2,x", "80, 443")
    assert row("ingresses.networking.k8s.io", spec={"rules": [{}]})["Hosts"] == "*"


def test_a_bound_claim_without_a_capacity_has_none() -> None:
    assert row("persistentvolumeclaims", spec={"volumeName": "v"})["Capacity"] == "0"
    assert row("persistentvolumeclaims", spec={})["Capacity"] == ""


def test_a_device_claim_that_goes_is_deleted_not_pending() -> None:
    name = "resourceclaims.resource.k8s.io"
    gone = {**BORN, "deletionTimestamp": rfc3339(NOW)}
    assert row(name)["State"] == "pending"
    assert row(name, metadata=gone)["State"] == "deleted"
    allocated = {"allocation": {"devices": {}}, "reservedFor": [{"name": "p"}]}
    assert row(name, metadata=gone, status=allocated)["State"] == "deleted,allocated,reserved"


def test_a_priority_level_shows_what_limits_it() -> None:
    name = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io"
    exempt = row(name, spec={"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}})
    assert list(exempt.values())[1:6] == ["Exempt", *["<none>"] * 4]
    queuing = {"queues": 64, "handSize": 6, "queueLengthLimit": 50}
    limited = {"nominalConcurrencyShares": 30, "limitResponse": {"type": "Queue", "queuing": queuing}}
    assert list(row(name, spec={"type": "Limited", "limited": limited}).values())[1:6] == [
        "Limited",
        30,
        64,
        6,
        50,
    ]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (None, "<unset>"),
        ({"name": "p"}, "*/p"),
        ({"name": "p", "namespace": "n"}, "n/p"),
        (
            {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}},
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{"
            "LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}",
        ),
    ],
)  # fmt: skip
def test_a_policy_binding_shows_its_parameters(reference: Object | None, text: str) -> None:
    spec = {"policyName": "p"} | ({"paramRef": reference} if reference else {})
    assert (
        row("validatingadmissionpolicybindings.admissionregistration.k8s.io", spec=spec)["ParamRef"] == text
    )


def test_an_autoscaler_without_a_target_of_its_metric_finds_it_itself() -> None:
    spec = {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]}
    assert row("horizontalpodautoscalers.autoscaling", spec=spec)["Targets"] == "cpu: <unknown>/<auto>"


def test_kinds_without_columns_of_their_own_show_when_they_were_made() -> None:
    made = table.table(kind("roles.rbac.authorization.k8s.io"), [{"metadata": BORN}], NOW)
    assert [(column["name"], column["type"]) for column in made["columnDefinitions"]] == [
        ("Name", "string"), ("Created At", "date"),
    ]  # fmt: skip
    assert made["rows"][0]["cells"] == ["a", BORN["creationTimestamp"]]


def test_an_address_is_shown_with_what_holds_it() -> None:
    parent = {"group": "Example.com", "resource": "gates", "namespace": "n", "name": "g"}
    assert (
        row("ipaddresses.networking.k8s.io", spec={"parentRef": parent})["ParentRef"]
        == "gates.example.com/n/g"
    )
    parent = {"group": "", "resource": "services", "namespace": "n", "name": "g"}
    assert row("ipaddresses.networking.k8s.io", spec={"parentRef": parent})["ParentRef"] == "services/n/g"


@pytest.mark.parametrize(
    ("ready", "closed", "text"),
    [
        ("True", False, "Ready"),
        ("True", True, "Ready,SchedulingDisabled"),
        ("Unknown", False, "NotReady"),
        (None, True, "Unknown,SchedulingDisabled"),
    ],
)
def test_a_node_shows_whether_it_is_ready_and_takes_pods(ready: str | None, closed: bool, text: str) -> None:
    conditions = [{"type": "Ready" if ready else "DiskPressure", "status": ready or "True"}]
    assert row("nodes", spec={"unschedulable": closed}, status={"conditions": conditions})["Status"] == text


@pytest.mark.parametrize(
    ("spec", "ingress", "text"),
    [
        ({"type": "NodePort", "externalIPs": ["9.9.9.9", "8.8.8.8"]}, [], "9.9.9.9,8.8.8.8"),
        ({"type": "LoadBalancer"}, [], "<pending>"),
        ({"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}, [{"ip": "5.5.5.5"}, {"hostname": "b"}], "5.5.5.5,b,9.9.9.9"),
        ({"type": "ExternalName", "externalName": "a.b"}, [], "a.b"),
        ({"type": "ClusterIP"}, [], "<none>"),
    ],
)  # fmt: skip
def test_a_service_shows_where_it_is_reached_from_outside(
    spec: Object, ingress: list[Object], text: str
) -> None:
    assert row("services", spec=spec, status={"loadBalancer": {"ingress": ingress}})["External-IP"] == text


def test_an_event_of_the_new_form_shows_its_series_and_who_reported_it() -> None:
    first, last = (rfc3339(NOW - seconds)[:-1] + ".000000Z" for seconds in (600, 60))
    shown = row(
        "events", involvedObject={"kind": "Pod", "name": "p"}, message=" told\n", eventTime=first,
        series={"count": 100, "lastObservedTime": last}, reportingComponent="c", reportingInstance="i",
    )  # fmt: skip
    assert (shown["Last Seen"], shown["First Seen"], shown["Count"]) == ("60s", "10m", 100)
    assert (shown["Object"], shown["Source"], shown["Message"]) == ("pod/p", "c, i", "told")


def test_a_quota_shows_requests_and_limits_apart() -> None:
    hard = {"pods": "4", "limits.memory": "1Gi", "requests.cpu": "2"}
    shown = row("resourcequotas", status={"hard": hard, "used": {"pods": "1"}})
    assert (shown["Request"], shown["Limit"]) == ("pods: 1/4, requests.cpu: 0/2", "limits.memory: 0/1Gi")


def test_access_modes_are_shown_in_an_order_of_their_own() -> None:
    modes = ["ReadWriteMany", "ReadWriteOncePod", "ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"]
    assert row("persistentvolumes", spec={"accessModes": modes})["Access Modes"] == "RWO,ROX,RWX,RWOP"
    claim = row("persistentvolumeclaims", spec={"volumeName": "v"}, status={"accessModes": modes[:3]})
    assert claim["Access Modes"] == "RWO,RWX,RWOP"
