"""Rules of kinds other than pods: services, workloads, storage, configuration, access."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from sublet.kinds import catalog
from sublet.machinery import table
from sublet.machinery.kind import Kind, Object
from sublet.machinery.objects import rfc3339

NOW = 1_770_000_000.0
ALL = catalog.everything()
LABELS = {"app": "web"}
TEMPLATE: Object = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "x"}]}}


def kind(name: str) -> Kind:
    plural, _, group = name.partition(".")
    return ALL[group, plural]


def made(name: str, **fields: Any) -> Object:
    """An object as the API server would store it."""
    obj: Object = {"metadata": {"name": "a", "uid": "0f9c"}, **copy.deepcopy(fields)}
    kind(name).default(obj)
    kind(name).prepare_create(obj)
    return obj


def errors(name: str, **fields: Any) -> list[str]:
    return [str(error) for error in kind(name).validate(made(name, **fields))]


def updated(name: str, old: Object, new: Object) -> list[str]:
    return [str(error) for error in kind(name).validate_update(new, old)]


def cells(name: str, obj: Object) -> list[Any]:
    return table.cells(kind(name), obj, NOW)


def deployment(**spec: Any) -> Object:
    return {"selector": {"matchLabels": LABELS}, "template": TEMPLATE, **spec}


# -- services --


def test_a_service_defaults_to_a_cluster_ip_and_tcp() -> None:
    spec = made("services", spec={"ports": [{"port": 80}]})["spec"]
    assert spec == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
        "internalTrafficPolicy": "Cluster",
    }


def test_client_affinity_gets_a_timeout() -> None:
    spec = made("services", spec={"ports": [{"port": 80}], "sessionAffinity": "ClientIP"})["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.ports: Required value"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, 'spec.ports[1].name: Duplicate value: "a"'),
        ({"ports": [{"port": 1, "nodePort": 30000}]}, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ({"type": "Foo", "ports": [{"port": 1}]}, 'spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]}, "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"),
        ({"clusterIP": "x", "ports": [{"port": 1}]}, 'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
        ({"ports": [{"port": 1}], "externalIPs": ["127.0.0.1"]}, 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'),
        ({"ports": [{"port": 1}], "loadBalancerClass": "a.b/c"}, "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"),
    ],
)  # fmt: skip
def test_service_rules(spec: Object, message: str) -> None:
    assert message in errors("services", spec=spec)


def test_headless_and_external_name_services_need_no_ports() -> None:
    assert errors("services", spec={"clusterIP": "None"}) == []
    assert errors("services", spec={"type": "ExternalName", "externalName": "example.com"}) == []


def stored_service(**spec: Any) -> Object:
    spec = {"ports": [{"port": 80}], "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], **spec}
    return made("services", spec=spec)


def changed_service(old: Object, **spec: Any) -> Object:
    """The old service with parts of its spec replaced, as the registry prepares it."""
    new = copy.deepcopy(old)
    new["spec"].update(copy.deepcopy(spec))
    kind("services").default(new)
    kind("services").prepare_update(new, old)
    return new


def test_a_service_keeps_its_address_when_an_update_leaves_it_out() -> None:
    old = stored_service()
    new = made("services", spec={"ports": [{"port": 81}]})
    kind("services").prepare_update(new, old)
    assert (new["spec"]["clusterIP"], new["spec"]["clusterIPs"]) == ("10.0.0.5", ["10.0.0.5"])
    assert updated("services", old, new) == []


def test_a_service_s_address_cannot_change() -> None:
    new = changed_service(stored_service(), clusterIP="10.0.0.6", clusterIPs=["10.0.0.6"])
    (message,) = updated("services", stored_service(), new)
    assert message == 'spec.clusterIPs[0]: Invalid value: ["10.0.0.6"]: may not change once set'


def test_turning_into_an_external_name_gives_the_address_back() -> None:
    new = changed_service(stored_service(), type="ExternalName", externalName="example.com")
    assert "clusterIP" not in new["spec"] and "clusterIPs" not in new["spec"]
    assert list(kind("services").validate(new)) == []


def test_node_ports_are_kept_and_given_back_with_the_type() -> None:
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080}]
    old = stored_service(type="NodePort", ports=ports)
    kept = changed_service(old, ports=[{"port": 80, "protocol": "TCP", "targetPort": 8080}])
    assert kept["spec"]["ports"][0]["nodePort"] == 30080
    back = changed_service(old, type="ClusterIP")
    assert "nodePort" not in back["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in back["spec"]
    assert list(kind("services").validate(back)) == []


@pytest.mark.parametrize(
    ("spec", "row"),
    [
        ({}, ["ClusterIP", "10.0.0.5", "<none>", "80/TCP"]),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}, ["NodePort", "10.0.0.5", "<none>", "80:30080/TCP"]),
        ({"type": "LoadBalancer"}, ["LoadBalancer", "10.0.0.5", "<pending>", "80/TCP"]),
        ({"clusterIP": "None", "clusterIPs": ["None"], "ports": []}, ["ClusterIP", "None", "<none>", "<none>"]),
        ({"type": "ExternalName", "externalName": "x.y", "clusterIP": "", "clusterIPs": [], "ports": []}, ["ExternalName", "<none>", "x.y", "<none>"]),
    ],
)  # fmt: skip
def test_service_rows(spec: Object, row: list[str]) -> None:
    assert cells("services", stored_service(**spec))[1:5] == row


# -- workloads --


def test_a_deployment_gets_its_defaults() -> None:
    spec = made("deployments.apps", spec=deployment())["spec"]
    assert spec["replicas"] == 1 and spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"template": TEMPLATE}, "spec.selector: Required value"),
        (deployment(selector={}), "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        (deployment(selector={"matchLabels": {"b": "c"}}), 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'),
        (deployment(replicas=-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (deployment(strategy={"type": "Recreate", "rollingUpdate": {}}), "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        (deployment(strategy={"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}), "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        (deployment(progressDeadlineSeconds=5, minReadySeconds=5), "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"),
    ],
)  # fmt: skip
def test_deployment_rules(spec: Object, message: str) -> None:
    assert message in errors("deployments.apps", spec=spec)


def test_workload_pods_always_restart_and_have_no_deadline() -> None:
    template = copy.deepcopy(TEMPLATE)
    template["spec"] |= {"restartPolicy": "Never", "activeDeadlineSeconds": 5}
    found = errors("deployments.apps", spec=deployment(template=template))
    assert 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"' in found
    assert any("activeDeadlineSeconds in ReplicaSet is not Supported" in message for message in found)


@pytest.mark.parametrize("name", ["deployments.apps", "replicasets.apps", "daemonsets.apps"])
def test_selectors_cannot_change(name: str) -> None:
    old = made(name, spec=deployment())
    new = copy.deepcopy(old)
    new["spec"]["selector"] = {"matchLabels": {"x": "y"}}
    assert updated(name, old, new) == [
        'spec.selector: Invalid value: {"matchLabels":{"x":"y"}}: field is immutable'
    ]


def test_a_stateful_set_may_change_little() -> None:
    old = made("statefulsets.apps", spec=deployment(serviceName="s"))
    new = copy.deepcopy(old)
    new["spec"] |= {"replicas": 3, "minReadySeconds": 1}
    assert updated("statefulsets.apps", old, new) == []
    new["spec"]["serviceName"] = "t"
    (message,) = updated("statefulsets.apps", old, new)
    assert message.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")


def test_a_job_ties_its_pods_to_itself() -> None:
    template = copy.deepcopy(TEMPLATE)
    template["spec"]["restartPolicy"] = "Never"
    job = made("jobs.batch", spec={"template": template})
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "0f9c"}}
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels == {
        "app": "web",
        "controller-uid": "0f9c",
        "batch.kubernetes.io/controller-uid": "0f9c",
        "job-name": "a",
        "batch.kubernetes.io/job-name": "a",
    }
    assert job["metadata"]["labels"] == {"app": "web"}
    assert list(kind("jobs.batch").validate(job)) == []
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (1, 1, 6)


def test_a_job_s_pods_may_not_restart_forever() -> None:
    found = errors("jobs.batch", spec={"template": TEMPLATE})
    assert 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"' in found


@pytest.mark.parametrize(
    ("status", "row"),
    [
        ({}, ["Running", "0/1", ""]),
        ({"startTime": rfc3339(NOW - 65)}, ["Running", "0/1", "65s"]),
        (
            {
                "startTime": rfc3339(NOW - 65),
                "completionTime": rfc3339(NOW - 60),
                "succeeded": 1,
                "conditions": [{"type": "Complete", "status": "True"}],
            },
            ["Complete", "1/1", "5s"],
        ),
    ],
)
def test_job_rows(status: Object, row: list[str]) -> None:
    job = made("jobs.batch", spec={"template": TEMPLATE}) | {"status": status}
    assert cells("jobs.batch", job)[1:4] == row


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("*/5 * * * *", True),
        ("@daily", True),
        ("0 0 1 jan mon-fri", True),
        ("0 0 * * 7", False),
        ("* * * *", False),
        ("60 * * * *", False),
        ("*/0 * * * *", False),
        ("@sometimes", False),
        ("a * * * *", False),
    ],
)
def test_schedules(text: str, good: bool) -> None:
    spec = {
        "schedule": text,
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", **TEMPLATE["spec"]}}}},
    }
    assert bool(errors("cronjobs.batch", spec=spec)) is not good


def test_time_zones_are_named_as_iana_names_them() -> None:
    found = errors("cronjobs.batch", spec={"schedule": "@daily", "timeZone": "Local"})
    assert any("timeZone must be an explicit time zone" in message for message in found)
    found = errors("cronjobs.batch", spec={"schedule": "@daily", "timeZone": "Nowhere/Land"})
    assert 'spec.timeZone: Invalid value: "Nowhere/Land": unknown time zone Nowhere/Land' in found


# -- storage and configuration --

CLAIM: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def test_a_claim_may_be_bound_but_not_rewritten() -> None:
    old = made("persistentvolumeclaims", spec=CLAIM)
    new = copy.deepcopy(old)
    new["spec"] |= {"volumeName": "v", "storageClassName": "s"}
    assert updated("persistentvolumeclaims", old, new) == []
    new["spec"]["accessModes"] = ["ReadWriteMany"]
    assert updated("persistentvolumeclaims", old, new) == [
        "spec: Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName for bound claims\n"
        "--- expected\n+++ got\n@@ -1,13 +1,13 @@\n"
        ' {\n   "AccessModes": [\n-    "ReadWriteMany"\n+    "ReadWriteOnce"\n   ],\n   "Selector": null,\n'
        '   "Resources": {\n     "Limits": null,\n     "Requests": {\n       "storage": "1Gi"\n     }\n   },\n'
        '   "VolumeName": "v",\n   "StorageClassName": null,\n'
    ]


def test_a_bound_claim_may_grow_but_not_shrink_below_its_volume() -> None:
    old = made("persistentvolumeclaims", spec=CLAIM | {"volumeName": "v"})
    old["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    new = copy.deepcopy(old)
    new["spec"]["resources"]["requests"]["storage"] = "2Gi"
    assert updated("persistentvolumeclaims", old, new) == []
    new["spec"]["resources"]["requests"]["storage"] = "512Mi"
    assert updated("persistentvolumeclaims", old, new) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]


def test_a_volume_has_one_source_that_stays() -> None:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
    assert "spec: Required value: must specify a volume type" in errors("persistentvolumes", spec=spec)
    old = made("persistentvolumes", spec=spec | {"hostPath": {"path": "/a"}})
    new = copy.deepcopy(old)
    new["spec"]["hostPath"]["path"] = "/b"
    assert updated("persistentvolumes", old, new) == [
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"
        "--- expected\n+++ got\n@@ -1,15 +1,15 @@\n"
        ' {\n   "GCEPersistentDisk": null,\n   "AWSElasticBlockStore": null,\n   "HostPath": {\n'
        '-    "Path": "/b",\n+    "Path": "/a",\n     "Type": ""\n   },\n   "Glusterfs": null,\n   "NFS": null,\n'
        '   "RBD": null,\n   "Quobyte": null,\n   "ISCSI": null,\n   "FlexVolume": null,\n   "Cinder": null,\n'
        '   "CephFS": null,\n'
    ]


def test_string_data_of_a_secret_is_encoded_into_data() -> None:
    secret = made("secrets", stringData={"a": "b"}, data={"a": "eA==", "c": "eA=="})
    assert secret["data"] == {"a": base64.b64encode(b"b").decode(), "c": "eA=="}
    assert "stringData" not in secret and secret["type"] == "Opaque"


def test_typed_secrets_need_their_keys() -> None:
    assert errors("secrets", type="kubernetes.io/tls", data={"tls.crt": ""}) == [
        "data[tls.key]: Required value"
    ]
    config = base64.b64encode(b"{").decode()
    found = errors("secrets", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": config})
    assert found[0].startswith('data[.dockerconfigjson]: Invalid value: "<secret contents redacted>"')


def test_a_secret_s_type_stays() -> None:
    old, new = made("secrets"), made("secrets", type="other")
    assert updated("secrets", old, new) == ['type: Invalid value: "other": field is immutable']


def test_an_immutable_config_map_stays_as_it_is() -> None:
    old = made("configmaps", data={"a": "b"}, immutable=True)
    new = made("configmaps", data={"a": "c"})
    refused = "Forbidden: field is immutable when `immutable` is set"
    assert updated("configmaps", old, new) == [f"immutable: {refused}", f"data: {refused}"]


def test_config_keys_are_file_names() -> None:
    assert errors("configmaps", data={"a/b": ""})[0].startswith(
        'data[a/b]: Invalid value: "a/b": a valid config key'
    )
    assert errors("configmaps", data={"a": ""}, binaryData={"a": ""}) == [
        'data[a]: Invalid value: "a": duplicate of key present in binaryData'
    ]


def test_limit_ranges_derive_defaults_and_keep_their_order() -> None:
    item = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}
    obj = made("limitranges", spec={"limits": [item]})
    assert obj["spec"]["limits"][0]["default"] == {"cpu": "2"}
    assert obj["spec"]["limits"][0]["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}
    wrong = {"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}
    assert any(
        "min value 2 is greater than max value 1" in m
        for m in errors("limitranges", spec={"limits": [wrong]})
    )


def test_namespaces_are_labelled_with_their_name_and_finalized() -> None:
    namespace = made("namespaces")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert namespace["spec"] == {"finalizers": ["kubernetes"]}
    assert namespace["status"] == {"phase": "Active"}


def test_nodes_report_their_status_when_they_register() -> None:
    node = made("nodes", status={"capacity": {"cpu": "2"}})
    assert node["status"]["allocatable"] == {"cpu": "2"}


def test_node_rows() -> None:
    node = made(
        "nodes",
        spec={"unschedulable": True},
        status={
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    )
    node["metadata"]["labels"] = {"node-role.kubernetes.io/control-plane": ""}
    assert cells("nodes", node)[1:6] == [
        "Ready,SchedulingDisabled",
        "control-plane",
        "<unknown>",
        "v1.36.0",
        "10.0.0.1",
    ]


# -- access and the rest --


def test_bindings_know_their_group_and_keep_their_role() -> None:
    fields: Object = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "Group", "name": "g"}]}
    old = made("rolebindings.rbac.authorization.k8s.io", **fields)
    assert old["roleRef"]["apiGroup"] == old["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    new = copy.deepcopy(old)
    new["roleRef"]["name"] = "s"
    (message,) = updated("rolebindings.rbac.authorization.k8s.io", old, new)
    assert message.endswith("cannot change roleRef")


def test_rules_of_namespaced_roles_have_no_urls() -> None:
    found = errors("roles.rbac.authorization.k8s.io", rules=[{"verbs": ["get"], "nonResourceURLs": ["/x"]}])
    assert any("namespaced rules cannot apply to non-resource URLs" in message for message in found)
    assert "rules[0].verbs: Required value: verbs must contain at least one value" in errors(
        "clusterroles.rbac.authorization.k8s.io", rules=[{"apiGroups": [""], "resources": ["pods"]}]
    )


def test_the_default_storage_class_says_so() -> None:
    obj = made("storageclasses.storage.k8s.io", provisioner="p")
    obj["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert cells("storageclasses.storage.k8s.io", obj)[0] == "a (default)"


def test_system_priorities_are_the_system_s() -> None:
    obj = made("priorityclasses.scheduling.k8s.io", value=2_000_001_000)
    obj["metadata"]["name"] = "system-node-critical"
    assert list(kind("priorityclasses.scheduling.k8s.io").validate(obj)) == []
    obj["value"] = 5
    assert len(kind("priorityclasses.scheduling.k8s.io").validate(obj)) == 1


def test_an_event_s_row_says_when_it_was_seen_and_how_often() -> None:
    event = made(
        "events",
        involvedObject={"kind": "Pod", "name": "p"},
        count=3,
        firstTimestamp=rfc3339(NOW - 600),
        lastTimestamp=rfc3339(NOW - 30),
        source={"component": "kubelet", "host": "n"},
        message="text\n",
    )
    row = cells("events", event)
    assert (row[0], row[7], row[8]) == ("30s", "10m", 3)
    assert (row[3], row[5], row[6]) == ("pod/p", "kubelet, n", "text")


def test_an_event_of_the_new_interface_was_seen_once_or_as_often_as_its_series() -> None:
    event = made(
        "events", involvedObject={"kind": "Pod"}, eventTime=rfc3339(NOW - 90), reportingComponent="c"
    )
    row = cells("events", event)
    assert (row[0], row[3], row[5], row[7], row[8]) == ("90s", "pod", "c", "90s", 1)
    event["series"] = {"count": 7, "lastObservedTime": rfc3339(NOW - 5)}
    row = cells("events", event)
    assert (row[0], row[7], row[8]) == ("5s", "90s", 7)


def test_autoscaler_targets_show_current_and_wanted() -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}
    obj = made("horizontalpodautoscalers.autoscaling", spec=spec)
    assert cells("horizontalpodautoscalers.autoscaling", obj)[1:3] == ["Deployment/d", "cpu: <unknown>/80%"]
    used = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10}}}
    obj["status"] = {"currentMetrics": [used]}
    assert cells("horizontalpodautoscalers.autoscaling", obj)[2] == "cpu: 10%/80%"


def test_version_1_of_an_autoscaler_says_the_processor_target_in_a_field() -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}
    hpa = kind("horizontalpodautoscalers.autoscaling")
    (served,) = hpa.also_served
    old = served.from_stored(made("horizontalpodautoscalers.autoscaling", spec=spec))
    assert old["spec"]["targetCPUUtilizationPercentage"] == 80
    old["spec"]["targetCPUUtilizationPercentage"] = 50
    target = served.to_stored(old)["spec"]["metrics"][0]["resource"]["target"]
    assert target == {"type": "Utilization", "averageUtilization": 50}


def test_webhooks_get_their_defaults_and_need_an_address() -> None:
    name = "validatingwebhookconfigurations.admissionregistration.k8s.io"
    webhook = {"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    obj = made(name, webhooks=[webhook | {"clientConfig": {"url": "http://x"}}])
    (filled,) = obj["webhooks"]
    assert (filled["failurePolicy"], filled["timeoutSeconds"], filled["matchPolicy"]) == (
        "Fail",
        10,
        "Equivalent",
    )
    assert any("'https' is the only allowed URL scheme" in str(e) for e in kind(name).validate(obj))
    assert any("exactly one of url or service" in m for m in errors(name, webhooks=[webhook]))


def test_events_written_in_their_own_group_obey_more_and_keep_what_they_say() -> None:
    judge = kind("events").also_served[0].validate
    assert judge is not None
    old = {
        "metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"kind": "Pod"}, "reason": "r",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "x/y", "reportingInstance": "i",
        "action": "a", "type": "Normal",
    }  # fmt: skip
    assert not judge(old, None)
    told = [str(e.field) for e in judge({**old, "reportingComponent": "", "type": "x", "count": 2}, None)]
    assert told == ["reportingController"] * 3 + ["type", "count"]
    assert "reportingComponent" in {
        e.field for e in kind("events").validate({**old, "reportingComponent": ""})
    }
    changed = {**old, "reason": "s", "reportingComponent": "z", "series": {"count": 1}}
    assert [e.field for e in judge(changed, old)] == [
        "series.count", "series.lastObservedTime", "reason", "reason", "reportingController",
    ]  # fmt: skip
