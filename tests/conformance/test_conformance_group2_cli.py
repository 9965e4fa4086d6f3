"""Real kubectl on workloads: describe, label, patch, replace; and the nodes the suite needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from conformance_client import API, APIError, Object
from conformance_names import conformance
from conformance_steps import condition, wait_for
from conformance_workloads import AGNHOST, BUSYBOX, PAUSE, Workloads, container, controller, pod

POD_SECURITY = "baseline"
NODES = 2
LABELS = {"app": "agnhost", "role": "primary"}
Kubectl = Callable[..., str]


@conformance("[sig-architecture] Conformance Tests should have at least two untainted nodes [Conformance]")
def test_two_nodes_without_taints(api: API) -> None:
    def usable(node: Object) -> bool:
        ready = condition(node, "Ready")
        spec = node["spec"]
        return bool(
            ready and ready["status"] == "True" and not spec.get("taints") and not spec.get("unschedulable")
        )

    wait_for(lambda: sum(usable(n) for n in api.typed("v1", "nodes").items()) >= 2, "two usable nodes")


def test_what_the_suite_asks_before_and_after_its_tests(api: API) -> None:
    """Schedulable nodes from the cache, what runs in kube-system, events of nodes; a node's log fails at once."""
    nodes = api.typed("v1", "nodes")
    found = nodes.items(resource_version="0", field_selector="spec.unschedulable=false")
    assert len(found) == NODES
    for api_version, plural in (("v1", "pods"), ("v1", "replicationcontrollers"), ("apps/v1", "daemonsets")):
        assert api.typed(api_version, plural, "kube-system").items() == []
    for node in found:
        name = node["metadata"]["name"]
        fields = (
            f"involvedObject.kind=Node,involvedObject.name={name},involvedObject.namespace=,source=kubelet"
        )
        api.typed("v1", "events", "kube-system").items(field_selector=fields)
        began = time.monotonic()
        with pytest.raises(APIError) as caught:
            api.get_json(f"/api/v1/nodes/{name}:10250/proxy/pods")
        assert caught.value.code == 503 and time.monotonic() - began < 5


def primary(api: API, namespace: str, kubectl: Kubectl) -> list[Object]:
    """The ReplicationController agnhost-primary, made by kubectl, and its pods."""
    port = {"name": "agnhost-server", "containerPort": 6379}
    manifest = controller("agnhost-primary", 1, LABELS, container("agnhost-primary", AGNHOST, ports=[port]))
    manifest["metadata"]["labels"] = LABELS
    manifest.update(apiVersion="v1", kind="ReplicationController")
    kubectl("create", "-f", "-", f"--namespace={namespace}", stdin=json.dumps(manifest))
    return Workloads(api, namespace).running(1, selector="app=agnhost")


def check_output(output: str, *wanted: tuple[str, ...]) -> None:
    """Each line's words are in one line, in the order of the lines wanted."""
    lines = output.splitlines()
    position = 0
    for words in wanted:
        while position < len(lines) and not all(word in lines[position] for word in words):
            position += 1
        assert position < len(lines), f"no line with {words} in its place in\n{output}"


@conformance(
    "[sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc "
    "and pods [Conformance]"
)
def test_describe(api: API, namespace: str, kubectl: Kubectl) -> None:
    [found] = primary(api, namespace, kubectl)
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "agnhost-primary", "labels": LABELS},
        "spec": {"ports": [{"port": 6379, "targetPort": "agnhost-server"}], "selector": LABELS},
    }  # fmt: skip
    within = f"--namespace={namespace}"
    kubectl("create", "-f", "-", within, stdin=json.dumps(service))
    check_output(
        kubectl("describe", "pod", found["metadata"]["name"], within),
        ("Name:", "agnhost-primary-"), ("Namespace:", namespace), ("Node:",), ("Labels:", "app=agnhost"),
        ("role=primary",), ("Annotations:",), ("Status:", "Running"), ("IP:",),
        ("Controlled By:", "ReplicationController/agnhost-primary"), ("Image:", AGNHOST), ("State:", "Running"),
        ("QoS Class:", "BestEffort"),
    )  # fmt: skip
    check_output(
        kubectl("describe", "rc", "agnhost-primary", within),
        ("Name:", "agnhost-primary"), ("Namespace:", namespace), ("Selector:", "app=agnhost,role=primary"),
        ("Labels:", "app=agnhost"), ("role=primary",), ("Annotations:",), ("Replicas:", "1 current", "1 desired"),
        ("Pods Status:", "1 Running", "0 Waiting", "0 Succeeded", "0 Failed"), ("Pod Template:",),
        ("Image:", AGNHOST), ("Events:",),
    )  # fmt: skip
    check_output(
        kubectl("describe", "service", "agnhost-primary", within),
        ("Name:", "agnhost-primary"), ("Namespace:", namespace), ("Labels:", "app=agnhost"), ("role=primary",),
        ("Annotations:",), ("Selector:", "app=agnhost", "role=primary"), ("Type:", "ClusterIP"), ("IP:",),
        ("Port:", "<unset>", "6379/TCP"), ("Endpoints:",), ("Session Affinity:", "None"),
    )  # fmt: skip
    node = api.typed("v1", "nodes").items()[0]["metadata"]["name"]
    check_output(
        kubectl("describe", "node", node),
        ("Name:", node), ("Labels:",), ("Annotations:",), ("CreationTimestamp:",), ("Conditions:",),
        ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"), ("Addresses:",),
        ("Capacity:",), ("Kernel Version:",), ("OS Image:",), ("Container Runtime Version:",), ("Kubelet Version:",),
    )  # fmt: skip
    check_output(
        kubectl("describe", "namespace", namespace),
        ("Name:", namespace), ("Labels:",), ("Annotations:",), ("Status:", "Active"), ("No resource quota",),
        ("No LimitRange resource",),
    )  # fmt: skip


@conformance("[sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]")
def test_label(api: API, namespace: str, kubectl: Kubectl) -> None:
    within = f"--namespace={namespace}"
    manifest = {"apiVersion": "v1", "kind": "Pod", **pod("pause", {"name": "pause"}, PAUSE)}
    kubectl("create", "-f", "-", within, stdin=json.dumps(manifest))
    Workloads(api, namespace).pod_running("pause")
    kubectl("label", "pods", "pause", "testing-label=testing-label-value", within)
    assert "testing-label-value" in kubectl("get", "pod", "pause", "-L", "testing-label", within)
    kubectl("label", "pods", "pause", "testing-label-", within)
    assert "testing-label-value" not in kubectl("get", "pod", "pause", "-L", "testing-label", within)


@conformance("[sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]")
def test_patch(api: API, namespace: str, kubectl: Kubectl) -> None:
    for found in primary(api, namespace, kubectl):
        patch = '{"metadata":{"annotations":{"x":"y"}}}'
        kubectl("patch", "pod", found["metadata"]["name"], f"--namespace={namespace}", "-p", patch)
    for found in Workloads(api, namespace).pods.items(label_selector="app=agnhost"):
        assert found["metadata"]["annotations"]["x"] == "y"


@conformance(
    "[sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]"
)
def test_replace(api: API, namespace: str, kubectl: Kubectl) -> None:
    name, within = "e2e-test-httpd-pod", f"--namespace={namespace}"
    kubectl("run", name, f"--image={AGNHOST}", f"--labels=run={name}", within)
    work = Workloads(api, namespace)
    work.running(1, selector=f"run={name}")
    shown = kubectl("get", "pod", name, "-o", "json", within)
    kubectl("replace", "-f", "-", within, stdin=shown.replace(AGNHOST, BUSYBOX))
    assert work.pods.get(name)["spec"]["containers"][0]["image"] == BUSYBOX
