"""What sig-node tests of the API alone: ConfigMaps, Secrets, Leases, Nodes, PodTemplates, pods, RuntimeClasses."""

from __future__ import annotations

import base64
from collections.abc import Callable

from conformance_client import API, STRATEGIC, Object
from conformance_crud import holds
from conformance_names import conformance
from conformance_steps import (
    api_operations,
    change,
    check_discovery,
    condition,
    delete_all,
    gone,
    random_name,
    refused,
    wait_count,
)

POD_SECURITY = "baseline"
NewNamespace = Callable[..., str]


@conformance("[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]")
def test_a_configmap_with_an_empty_key_is_refused(api: API, namespace: str) -> None:
    configmap = {
        "metadata": {"name": random_name("configmap-test-emptyKey".lower())},
        "data": {"": "value-1"},
    }
    with refused("Invalid", "data[]: Invalid value"):
        api.typed("v1", "configmaps", namespace).create(configmap)


@conformance("[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]")
def test_the_life_of_a_configmap(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    name, selector = random_name("test-configmap"), "test-configmap-static=true"
    labels = {"test-configmap-static": "true"}
    with configmaps.watch(label_selector=selector) as watch:
        configmaps.create({"metadata": {"name": name, "labels": labels}, "data": {"valueName": "value"}})
        assert watch.expect("ADDED")["metadata"]["name"] == name
        patch = {"metadata": {"labels": {"test-configmap": "patched"}}, "data": {"valueName": "value1"}}
        configmaps.patch(name, patch, STRATEGIC)
        assert watch.expect("MODIFIED")["metadata"]["labels"]["test-configmap"] == "patched"
        found = configmaps.get(name)
        assert (
            found["data"]["valueName"] == "value1"
            and found["metadata"]["labels"]["test-configmap"] == "patched"
        )
        [listed] = api.typed("v1", "configmaps").items(label_selector=selector)
        assert (listed["metadata"]["name"], listed["metadata"]["namespace"]) == (name, namespace)
        configmaps.delete_collection(selector)
        assert watch.expect("DELETED")["metadata"]["name"] == name
    assert not configmaps.items(label_selector=selector)


@conformance("[sig-node] ConfigMap should update ConfigMap successfully [NodeConformance] [Conformance]")
def test_a_configmap_is_updated(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    name = random_name("configmap-test")
    configmaps.create({"metadata": {"name": name}, "data": {"data-1": "value-1"}})
    change(configmaps, name, lambda o: o.update(data={"data": "value"}))
    assert configmaps.get(name)["data"] == {"data": "value"}


@conformance("[sig-node] Lease lease API should be available [Conformance]")
def test_leases(api: API, namespace: str) -> None:
    leases = api.typed("coordination.k8s.io/v1", "leases", namespace)
    spec = {
        "holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
        "acquireTime": "0001-01-01T00:00:02.000000Z", "renewTime": "0001-01-01T00:00:05.000000Z",
    }  # fmt: skip
    leases.create({"metadata": {"name": "lease"}, "spec": spec})
    assert leases.get("lease")["spec"] == spec
    other = {
        "holderIdentity": "holder2", "leaseDurationSeconds": 60, "leaseTransitions": 1,
        "acquireTime": "0001-01-01T00:00:20.000000Z", "renewTime": "2026-01-01T00:01:10.000002Z",
    }  # fmt: skip
    change(leases, "lease", lambda o: o.update(spec=other))
    assert leases.get("lease")["spec"] == other
    patch = {"spec": {"holderIdentity": "holder3", "renewTime": "0001-01-01T00:01:10.000000Z"}}
    leases.patch("lease", patch, STRATEGIC)
    assert leases.get("lease")["spec"] == {**other, **patch["spec"]}
    labels = {"deletecollection": "true"}
    leases.create({"metadata": {"name": "lease2", "labels": labels}, "spec": spec})
    assert len(leases.items()) == 2
    leases.delete_collection("deletecollection=true")
    wait_count(leases, 1)
    leases.delete("lease")
    with refused("NotFound"):
        leases.get("lease")
    assert leases.items() == []


@conformance("[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]")
def test_the_life_of_a_node(api: API) -> None:
    nodes = api.typed("v1", "nodes")
    name = random_name("e2e-fake-node")
    resources = {"cpu": "10", "memory": "10G", "ephemeral-storage": "100G", "pods": "100"}
    ready = {"type": "Ready", "status": "True", "reason": "E2E", "message": "fake"}
    status = {"phase": "Running", "capacity": resources, "allocatable": resources, "conditions": [ready]}
    created = nodes.create({"metadata": {"name": name}, "status": status})
    assert created["metadata"]["name"] == nodes.get(name)["metadata"]["name"] == name
    nodes.patch(name, {"metadata": {"labels": {name: "patched"}}}, STRATEGIC)
    assert nodes.get(name)["metadata"]["labels"][name] == "patched"
    [listed] = nodes.items(label_selector=f"{name}=patched")
    assert listed["metadata"]["name"] == name
    change(nodes, name, lambda o: o["metadata"]["labels"].update({name: "updated"}))
    assert len(nodes.items(label_selector=f"{name}=updated")) == 1
    patched = nodes.patch(name, {"status": {"nodeInfo": {"machineID": "e2e"}}}, STRATEGIC, "status")
    assert patched["metadata"]["name"] == name
    extra = {**ready, "type": "StatusUpdate", "message": "Set from e2e test"}
    updated = change(nodes, name, lambda o: o["status"]["conditions"].append(extra), "status")
    assert holds(condition(updated, "StatusUpdate"), extra)
    nodes.delete_collection(f"{name}=updated")
    gone(nodes, name)
    assert not nodes.items(label_selector=f"{name}=updated")


def template(name: str, image: str = "nginx", labels: dict[str, str] | None = None) -> Object:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "template": {"spec": {"containers": [{"name": "nginx", "image": image}]}},
    }


@conformance("[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]")
def test_the_life_of_a_pod_template(api: API, namespace: str) -> None:
    templates = api.typed("v1", "podtemplates", namespace)
    name, labels = random_name("nginx-pod-template"), {"podtemplate-static": "true"}
    selector = "podtemplate-static=true"
    assert not api.typed("v1", "podtemplates").items(label_selector=selector)
    templates.create(template(name, labels=labels))
    assert templates.get(name)["metadata"]["name"] == name
    patched = templates.patch(name, {"metadata": {"labels": {"podtemplate": "patched"}}}, STRATEGIC)
    assert patched["metadata"]["labels"]["podtemplate"] == "patched"
    assert templates.get(name)["metadata"]["labels"]["podtemplate"] == "patched"
    templates.delete(name)
    assert not api.typed("v1", "podtemplates").items(label_selector=selector)


@conformance("[sig-node] PodTemplates should delete a collection of pod templates [Conformance]")
def test_pod_templates_are_deleted_by_label(api: API, namespace: str) -> None:
    templates = api.typed("v1", "podtemplates", namespace)
    for number in (1, 2, 3):
        templates.create(template(f"test-podtemplate-{number}", labels={"podtemplate-set": "true"}))
    assert len(templates.items(label_selector="podtemplate-set=true")) == 3
    templates.delete_collection("podtemplate-set=true")
    wait_count(templates, 0, label_selector="podtemplate-set=true")


@conformance("[sig-node] PodTemplates should replace a pod template [Conformance]")
def test_a_pod_template_is_replaced(api: API, namespace: str) -> None:
    templates = api.typed("v1", "podtemplates", namespace)
    name = random_name("podtemplate")
    created = templates.create(template(name))
    annotations = {"updated": "podtemplates/" + name}
    updated = change(templates, name, lambda o: o["metadata"].update(annotations=annotations))
    assert updated["metadata"]["annotations"] == annotations
    assert updated["template"] == created["template"]


@conformance(
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits "
    "for memory and cpu [Conformance]"
)
def test_equal_requests_and_limits_are_guaranteed(api: API, namespace: str) -> None:
    pods = api.typed("v1", "pods", namespace)
    amounts = {"cpu": "100m", "memory": "100Mi"}
    container = {
        "name": "pod-qos-class",
        "image": "agnhost",
        "resources": {"requests": amounts, "limits": amounts},
    }
    name = random_name("pod-qos-class")
    created = pods.create(
        {"metadata": {"name": name, "labels": {"name": "foo"}}, "spec": {"containers": [container]}}
    )
    assert created["status"]["qosClass"] == pods.get(name)["status"]["qosClass"] == "Guaranteed"


def runtime_pod(runtime_class: str) -> Object:
    return {
        "metadata": {"generateName": "test-runtimeclass-"},
        "spec": {
            "runtimeClassName": runtime_class,
            "containers": [{"name": "test", "image": "busybox"}],
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
        },
    }


@conformance(
    "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance] "
    "[Conformance]"
)
def test_a_pod_of_an_unknown_runtime_class_is_refused(api: API, namespace: str) -> None:
    name = namespace + "-nonexistent"
    with refused("Forbidden", f'pod rejected: RuntimeClass "{name}" not found'):
        api.typed("v1", "pods", namespace).create(runtime_pod(name))


@conformance(
    "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]"
)
def test_a_pod_of_a_deleted_runtime_class_is_refused(api: API, namespace: str) -> None:
    classes = api.typed("node.k8s.io/v1", "runtimeclasses")
    name = namespace + "-delete-me"
    classes.create({"metadata": {"name": name}, "handler": name + "-handler"})
    classes.delete(name)
    gone(classes, name)
    with refused("Forbidden", f'pod rejected: RuntimeClass "{name}" not found'):
        api.typed("v1", "pods", namespace).create(runtime_pod(name))


@conformance("[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]")
def test_runtime_classes(api: API) -> None:
    check_discovery(api, "node.k8s.io/v1", "runtimeclasses")
    classes = api.typed("node.k8s.io/v1", "runtimeclasses")
    value = random_name("runtime")
    selector = f"test={value}"
    updated = api_operations(
        classes,
        lambda: {"metadata": {"generateName": "e2e-rc-", "labels": {"test": value}}, "handler": "handler"},
        edit_patch={"metadata": {"annotations": {"patched": "true"}}},
        edit=lambda o: o["metadata"]["annotations"].update(updated="true"),
        check_edit=lambda o: o["metadata"]["annotations"]["updated"] == "true",
        selector=selector,
    )
    delete_all(classes, updated["metadata"]["name"], selector, 2)


@conformance("[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]")
def test_a_secret_with_an_empty_key_is_refused(api: API, namespace: str) -> None:
    secret = {"metadata": {"name": random_name("secret-emptykey-test")}, "data": {"": "dmFsdWUtMQ=="}}
    with refused("Invalid", "data[]: Invalid value"):
        api.typed("v1", "secrets", namespace).create(secret)


@conformance("[sig-node] Secrets should patch a secret [Conformance]")
def test_a_secret_is_patched(api: API, new_namespace: NewNamespace) -> None:
    namespace = new_namespace()
    secrets, everywhere = api.typed("v1", "secrets", namespace), api.typed("v1", "secrets")
    name, selector = random_name("test-secret"), "testsecret-constant=true"
    value = {"key": base64.b64encode(b"value").decode()}
    secrets.create(
        {
            "metadata": {"name": name, "labels": {"testsecret-constant": "true"}},
            "data": value,
            "type": "Opaque",
        }
    )
    [found] = everywhere.items(label_selector=selector)
    assert (found["metadata"]["name"], found["data"]) == (name, value)
    new = {"key": base64.b64encode(b"value1").decode()}
    secrets.patch(name, {"metadata": {"labels": {"testsecret": "true"}}, "data": new}, STRATEGIC)
    found = secrets.get(name)
    assert found["data"] == new and found["metadata"]["labels"]["testsecret"] == "true"
    secrets.delete_collection(selector)
    wait_count(everywhere, 0, label_selector=selector)


@conformance("[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]")
def test_invalid_sysctls_are_refused(api: API, namespace: str) -> None:
    sysctls = [
        {"name": "foo-", "value": "bar"},
        {"name": "kernel.shmmax", "value": "100000000"},
        {"name": "safe-and-unsafe", "value": "100000000"},
        {"name": "bar..", "value": "42"},
    ]
    pod = {
        "metadata": {"name": random_name("sysctl")},
        "spec": {
            "containers": [{"name": "test", "image": "busybox"}],
            "securityContext": {"sysctls": sysctls},
        },
    }
    with refused("Invalid", 'Invalid value: "foo-"') as caught:
        api.typed("v1", "pods", namespace).create(pod)
    message = caught[0].message
    assert 'Invalid value: "bar.."' in message
    assert "safe-and-unsafe" not in message and "kernel.shmmax" not in message
