"""Pods on nodes that only report: life, status, generations, deadlines, taints, runtime classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import change, condition, gone, random_name, wait_count
from conformance_workloads import (
    AGNHOST,
    AGNHOST_OLD,
    BUSYBOX,
    LONG,
    NGINX,
    PAUSE,
    Workloads,
    container,
    deleting,
    is_ready,
    names,
    pod,
    uid,
    until,
)

POD_SECURITY = "baseline"
NODES = 2
GENERATIONS = "[sig-node] Pods Extended (pod generation) Pod Generation"


@conformance(
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete "
    "[NodeConformance] [Conformance]"
)
def test_a_failing_pod_is_deleted(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("bin-false")
    failing = container(name, BUSYBOX, command=["/bin/false"])
    manifest = pod(name, containers=[failing])
    manifest["metadata"]["annotations"] = {"sublet.dev/hollow-exit-code": "1"}
    work.pods.create(manifest)
    work.pods.delete(name)
    gone(work.pods, name)


@conformance(
    "[sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]"
)
def test_a_deadline_is_set_later(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("pod-update-activedeadlineseconds")
    manifest = pod(name, {"name": "foo"}, activeDeadlineSeconds=30)
    work.pods.create(manifest)
    work.pod_running(name)
    change(work.pods, name, lambda o: o["spec"].update(activeDeadlineSeconds=5))
    found = until(work.pods, name, lambda o: o["status"]["phase"] == "Failed", "ends at its deadline")
    assert found["status"]["reason"] == "DeadlineExceeded"


@conformance("[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]")
def test_a_pod_comes_and_goes(api: API, namespace: str) -> None:
    work, name, stamp = Workloads(api, namespace), random_name("pod-submit-remove"), str(time.time_ns())
    selector = f"time={stamp}"
    listed = work.pods.list(label_selector=selector)
    assert not listed.get("items")
    with work.pods.watch(
        resource_version=listed["metadata"]["resourceVersion"], label_selector=selector
    ) as watch:
        work.pods.create(pod(name, {"name": "foo", "time": stamp}))
        assert names(work.pods.items(label_selector=selector)) == [name]
        assert watch.expect("ADDED")["metadata"]["name"] == name
        work.pod_running(name)
        work.pods.delete(name, gracePeriodSeconds=30)
        last = watch.until("DELETED", limit=LONG)
        assert deleting(last) and last["spec"]["terminationGracePeriodSeconds"] == 30
    assert not work.pods.items(label_selector=selector)


@conformance("[sig-node] Pods should be updated [NodeConformance] [Conformance]")
def test_labels_of_a_running_pod(api: API, namespace: str) -> None:
    work, name, stamp = Workloads(api, namespace), random_name("pod-update"), str(time.time_ns())
    work.pods.create(pod(name, {"name": "foo", "time": stamp}))
    work.pod_running(name)
    assert names(work.pods.items(label_selector=f"time={stamp}")) == [name]
    later = "time-" + stamp
    change(work.pods, name, lambda o: o["metadata"]["labels"].update(time=later))
    work.pod_running(name)
    assert names(work.pods.items(label_selector=f"time={later}")) == [name]


@conformance("[sig-node] Pods should delete a collection of pods [Conformance]")
def test_a_collection_of_pods(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    for number in (1, 2, 3):
        manifest = pod(f"test-pod-{number}", {"type": "Testing"}, AGNHOST, terminationGracePeriodSeconds=1)
        work.pods.create(manifest)
    wait_count(work.pods, 3, label_selector="type=Testing")
    work.pods.delete_collection("type=Testing")
    wait_count(work.pods, 0, LONG, label_selector="type=Testing")


@conformance("[sig-node] Pods should get a host IP [NodeConformance] [Conformance]")
def test_a_pod_knows_its_hosts_address(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("pod-hostip")
    work.pods.create(pod(name))
    found = work.pod_running(name)
    node = api.typed("v1", "nodes").get(found["spec"]["nodeName"])
    internal = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
    assert found["status"]["hostIP"] in internal
    assert found["status"]["hostIPs"][0]["ip"] == found["status"]["hostIP"]


@conformance("[sig-node] Pods should patch a pod status [Conformance]")
def test_the_status_of_a_pod_is_patched(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("pod")
    labels = {"e2e": name}
    work.pods.create(pod(name, labels, AGNHOST, terminationGracePeriodSeconds=0))
    work.pod_running(name)
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"message": "Patched by e2e test", "reason": "E2E"},
    }
    patched = work.pods.patch(name, patch, subresource="status")
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert (patched["status"]["message"], patched["status"]["reason"]) == ("Patched by e2e test", "E2E")


@conformance("[sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]")
def test_the_life_of_a_pod_and_its_status(api: API, namespace: str) -> None:
    work, name, selector = Workloads(api, namespace), "pod-test", "test-pod-static=true"
    labels = {"test-pod-static": "true"}
    manifest = pod(name, labels, AGNHOST_OLD, terminationGracePeriodSeconds=1)
    with work.pods.watch(label_selector=selector) as watch:
        made = work.pods.create(manifest)
        watch.until("ADDED")
        found = watch.until("MODIFIED", is_ready, LONG)
        assert uid(found) == uid(made)
        inner = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "pause", "image": AGNHOST}]}
        patch = {"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"containers": inner["containers"]}}
        work.pods.patch(name, patch, STRATEGIC)
        patched = watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-pod") == "patched")
        assert patched["spec"]["containers"][0]["image"] == AGNHOST
        watch.until(
            "MODIFIED",
            lambda o: is_ready(o) and o["status"]["containerStatuses"][0]["image"] == AGNHOST,
            LONG,
        )
        dynamic = api.dynamic("v1", "pods", "Pod", namespace)

        def unready(obj: Object) -> None:
            states = [c for c in obj["status"]["conditions"] if c["type"] in ("Ready", "ContainersReady")]
            assert [c["status"] for c in states] == ["True", "True"], "the node made the pod unready"
            for state in states:
                state["status"] = "False"

        assert is_ready(dynamic.get(name, "status"))
        written = change(dynamic, name, unready, "status")
        for kind in ("Ready", "ContainersReady"):
            state = condition(written, kind)
            assert state is not None and state["status"] == "False"
        watch.until("MODIFIED", lambda o: not is_ready(o))
        work.pods.delete_collection(selector)
        watch.until("DELETED", limit=LONG)


@conformance(
    f"{GENERATIONS} pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] "
    "[Conformance]"
)
def test_generations_of_a_pod(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("pod-generation")
    manifest = pod(name, image=AGNHOST)
    manifest["spec"]["initContainers"] = [container("init-container", BUSYBOX)]
    made = work.pods.create(manifest)
    assert made["metadata"]["generation"] == 1
    work.pod_running(name)

    def tolerations(found: Object) -> None:
        """All others are left out: admission puts those back that every pod has."""
        foo = {"key": "foo-generation", "operator": "Equal", "value": "bar", "effect": "NoSchedule"}
        found["spec"]["tolerations"] = [foo]

    def image(part: str, wanted: str) -> Callable[[Object], None]:
        return lambda found: found["spec"][part][0].update(image=wanted)

    edits: list[tuple[Callable[[Object], object], int]] = [
        (lambda _: None, 1),
        (tolerations, 2),
        (lambda o: o["spec"].update(activeDeadlineSeconds=5000), 3),
        (image("containers", NGINX), 4),
        (image("initContainers", PAUSE), 5),
        (lambda o: o["metadata"].update(annotations={"key": "value"}), 5),
        (lambda o: o["metadata"].update(generation=1), 5),
    ]
    for edit, expected in edits:
        change(work.pods, name, edit)
        assert work.pods.get(name)["metadata"]["generation"] == expected
        observed(work, name, expected)
    debugger = {
        "name": "debugger", "image": AGNHOST, "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "File", "securityContext": container()["securityContext"],
    }  # fmt: skip
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    patched = work.pods.patch(name, patch, STRATEGIC, "ephemeralcontainers")
    assert patched["metadata"]["generation"] == 6
    observed(work, name, 6)
    work.pods.delete(name, gracePeriodSeconds=0)


def observed(work: Workloads, name: str, generation: int) -> None:
    def holds(found: Object) -> bool:
        status = found["status"]
        return status.get("observedGeneration") == generation and all(
            c.get("observedGeneration") == generation for c in status.get("conditions", ())
            if c["type"] in ("Ready", "ContainersReady", "Initialized")
        )  # fmt: skip

    until(work.pods, name, holds, f"generation {generation} is observed")


@conformance(f"{GENERATIONS} custom-set generation on new pods and graceful delete [Conformance]")
def test_generation_cannot_be_chosen(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("pod-generation")
    manifest = pod(name, {"time": str(time.time_ns())}, AGNHOST)
    manifest["metadata"]["generation"] = 100
    assert work.pods.create(manifest)["metadata"]["generation"] == 1
    work.pod_running(name)
    answer = work.pods.send("DELETE", work.pods.path(name, gracePeriodSeconds="60"), None)
    assert (answer["kind"], deleting(answer)) == ("Pod", True)
    found = work.pods.get(name)  # a node takes a moment to stop it
    assert (found["metadata"]["generation"], found["metadata"]["deletionGracePeriodSeconds"]) == (2, 60)
    gone(work.pods, name, LONG)


@conformance(
    f"{GENERATIONS} issue 500 podspec updates and verify generation and observedGeneration eventually converge "
    "[MinimumKubeletVersion:1.34] [Conformance]"
)
def test_five_hundred_generations(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), random_name("pod-generation")
    work.pods.create(pod(name, image=AGNHOST, activeDeadlineSeconds=5000))
    for number in range(499):
        change(work.pods, name, lambda o, n=number: o["spec"].update(activeDeadlineSeconds=4999 - n))
    assert work.pods.get(name)["metadata"]["generation"] == 500
    until(work.pods, name, lambda o: o["status"].get("observedGeneration") == 500, "500 is observed")


RUNTIME_CLASS = "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass"


def runtime_class_pod(api: API, namespace: str, overhead: Object | None) -> Object:
    """A pod of a new RuntimeClass, once it is scheduled and runs."""
    work, name = Workloads(api, namespace), random_name("test-runtimeclass")
    more = {"overhead": {"podFixed": overhead}} if overhead else {}
    api.typed("node.k8s.io/v1", "runtimeclasses").create(
        {"metadata": {"name": name}, "handler": "test-handler", **more}
    )
    busy = container("test", BUSYBOX, command=["true"])
    manifest = pod(name, {"e2e": name}, containers=[busy], restartPolicy="Never", runtimeClassName=name)
    work.pods.create(manifest)
    found = until(work.pods, name, lambda o: o["spec"].get("nodeName"), "scheduled")
    work.pod_running(name)
    api.typed("node.k8s.io/v1", "runtimeclasses").delete(name)
    return found


@conformance(f"{RUNTIME_CLASS} without PodOverhead [NodeConformance] [Conformance]")
def test_a_runtime_class(api: API, namespace: str) -> None:
    assert "overhead" not in runtime_class_pod(api, namespace, None)["spec"]


@conformance(f"{RUNTIME_CLASS} and initialize its Overhead [NodeConformance] [Conformance]")
def test_a_runtime_class_with_overhead(api: API, namespace: str) -> None:
    overhead = {"cpu": "10m", "memory": "1Mi"}
    assert runtime_class_pod(api, namespace, overhead)["spec"]["overhead"] == overhead


TAINT = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


def tolerating(name: str, seconds: int, group: str) -> Object:
    toleration = {**TAINT, "operator": "Equal", "tolerationSeconds": seconds}
    return pod(name, {"group": group}, PAUSE, tolerations=[toleration], terminationGracePeriodSeconds=0)


@contextmanager
def tainted(api: API, node: str) -> Iterator[None]:
    nodes = api.typed("v1", "nodes")
    change(nodes, node, lambda o: o["spec"].setdefault("taints", []).append(dict(TAINT)))
    try:
        yield
    finally:

        def clean(found: Object) -> None:
            found["spec"]["taints"] = [
                t for t in found["spec"].get("taints") or () if t["key"] != TAINT["key"]
            ]

        change(nodes, node, clean)


@conformance(
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]"
)
def test_removing_a_taint_cancels_the_eviction(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    work.pods.create(tolerating("taint-eviction-4", 3, "taint-eviction-4"))
    found = work.pod_running("taint-eviction-4")
    with tainted(api, found["spec"]["nodeName"]):
        time.sleep(1.5)
        assert not deleting(work.pods.get("taint-eviction-4"))
    time.sleep(3)
    assert not deleting(work.pods.get("taint-eviction-4"))


@conformance(
    "[sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] "
    "[Conformance]"
)
def test_each_pod_is_evicted_after_its_seconds(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    work.pods.create(tolerating("taint-eviction-b1", 1, "taint-eviction-b"))
    node = work.pod_running("taint-eviction-b1")["spec"]["nodeName"]
    second = tolerating("taint-eviction-b2", 4, "taint-eviction-b")
    second["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    work.pods.create(second)
    work.pod_running("taint-eviction-b2")
    with tainted(api, node):
        gone(work.pods, "taint-eviction-b1")
        assert not deleting(work.pods.get("taint-eviction-b2")), "evicted too early"
        gone(work.pods, "taint-eviction-b2")
