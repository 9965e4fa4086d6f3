"""StatefulSets: canaries and phases, recreation, scale, status, collections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import change, condition, gone, wait_count, wait_for
from conformance_workloads import (
    AGNHOST,
    AGNHOST_OLD,
    LONG,
    PAUSE,
    Workloads,
    check_scale,
    check_status,
    container,
    images,
    is_ready,
    pod,
    set_image,
    template,
    uid,
    until,
    when,
)

POD_SECURITY = "privileged"
NODES = 2
LABELS = {"foo": "bar", "baz": "blah"}
SELECTOR = "foo=bar,baz=blah"
SUITE = "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic]"
HASH = "controller-revision-hash"


@pytest.fixture(autouse=True)
def clean(api: API, namespace: str) -> Iterator[None]:
    """As upstream: no test leaves a StatefulSet to others."""
    yield
    resource = api.typed("apps/v1", "statefulsets", namespace)
    resource.delete_collection()
    wait_count(resource, 0)


def statefulset(work: Workloads, name: str, replicas: int, **spec: Any) -> Object:
    """A StatefulSet on its headless Service "test"."""
    if when(work.services, "test", lambda _: True) is None:
        service = {
            "clusterIP": "None",
            "selector": LABELS,
            "ports": [{"port": 80, "name": "http", "protocol": "TCP"}],
        }
        work.services.create({"metadata": {"name": "test", "labels": LABELS}, "spec": service})
    manifest = {
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "serviceName": "test", "replicas": replicas, "selector": {"matchLabels": LABELS},
            "template": template(LABELS, container("webserver", AGNHOST_OLD)),
            "updateStrategy": {"type": "RollingUpdate"}, **spec,
        },
    }  # fmt: skip
    made = work.statefulsets.create(manifest)
    work.running(replicas, selector=SELECTOR)
    return made


def settled(work: Workloads, name: str) -> Object:
    return until(
        work.statefulsets, name,
        lambda o: o["status"].get("observedGeneration", 0) >= o["metadata"]["generation"], "observed",
    )  # fmt: skip


def check_pods(pods: list[Object], new_from: int, old: tuple[str, str], new: tuple[str, str]) -> None:
    """(revision, image) of the pods: new from this ordinal on."""
    for found in pods:
        ordinal = int(found["metadata"]["name"].rpartition("-")[2])
        shown = found["metadata"]["labels"][HASH], found["spec"]["containers"][0]["image"]
        assert shown == (new if ordinal >= new_from else old), f"{found['metadata']['name']}: {shown}"


@conformance(
    f"{SUITE} should perform canary updates and phased rolling updates of template modifications [Conformance]"
)
def test_canary_and_phases(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "ss2"
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
    statefulset(work, name, 3, updateStrategy=strategy)
    found = until(work.statefulsets, name, lambda o: o["status"].get("updateRevision"), "has a revision")
    first = found["status"]["currentRevision"]
    assert first == found["status"]["updateRevision"]
    old, new_image = (first, AGNHOST_OLD), AGNHOST
    check_pods(work.running(3, selector=SELECTOR), 3, old, ("", ""))

    change(work.statefulsets, name, lambda o: set_image(o, new_image))
    found = until(
        work.statefulsets, name,
        lambda o: o["status"].get("observedGeneration", 0) >= o["metadata"]["generation"]
        and o["status"]["updateRevision"] != first, "has a new revision",
    )  # fmt: skip
    new = (found["status"]["updateRevision"], new_image)
    assert found["status"]["currentRevision"] == first
    check_pods(work.running(3, selector=SELECTOR), 3, old, new)  # partition above all: none is updated

    def phase(partition: int) -> None:
        def edit(obj: Object) -> None:
            obj["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition

        change(work.statefulsets, name, edit)
        wait_for(
            lambda: all(
                p["metadata"]["labels"][HASH] == new[0]
                for p in work.running(3, selector=SELECTOR)
                if int(p["metadata"]["name"].rpartition("-")[2]) >= partition
            ),
            f"partition {partition}",
            LONG,
        )
        check_pods(work.running(3, selector=SELECTOR), partition, old, new)

    phase(2)  # the canary
    for victim in ("ss2-0", "ss2-2"):
        before = uid(work.pods.get(victim))
        work.pods.delete(victim, gracePeriodSeconds=0)
        until(work.pods, victim, lambda o, b=before: uid(o) != b and is_ready(o), "is there again")
    check_pods(work.running(3, selector=SELECTOR), 2, old, new)
    phase(1)
    phase(0)
    found = until(
        work.statefulsets, name,
        lambda o: o["status"].get("currentRevision") == new[0] and o["status"].get("updatedReplicas") == 3, "done",
    )  # fmt: skip


@conformance(f"{SUITE} Should recreate evicted statefulset [Conformance]")
def test_an_evicted_pod_is_recreated(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "ss"
    node = api.typed("v1", "nodes").items()[0]["metadata"]["name"]
    port = {"containerPort": 21017, "hostPort": 21017}
    blocking = pod("test-pod", containers=[container("nginx", AGNHOST, ports=[port])], nodeName=node)
    work.pods.create(blocking)
    work.pod_running("test-pod")
    service = {"clusterIP": "None", "selector": LABELS, "ports": [{"port": 80, "name": "http"}]}
    work.services.create({"metadata": {"name": "test"}, "spec": service})
    stuck = template(LABELS, container("webserver", AGNHOST_OLD, ports=[port]), nodeName=node)
    spec = {"serviceName": "test", "replicas": 1, "selector": {"matchLabels": LABELS}, "template": stuck}
    with work.pods.watch(field_selector=f"metadata.name={name}-0") as watch:
        work.statefulsets.create({"metadata": {"name": name}, "spec": spec})
        failed = watch.until("MODIFIED", lambda o: o["status"]["phase"] == "Failed", LONG)
        watch.until("DELETED", lambda o: uid(o) == uid(failed), LONG)
    work.pods.delete("test-pod", gracePeriodSeconds=0)
    until(work.pods, f"{name}-0", is_ready, "runs at last", 120)
    work.statefulsets.delete(name)
    gone(work.statefulsets, name)


@conformance(f"{SUITE} should have a working scale subresource [Conformance]")
def test_the_scale_of_a_statefulset(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    statefulset(work, "ss", 1)
    until(work.statefulsets, "ss", lambda o: o["status"].get("replicas") == 1, "counts its pod")
    check_scale(work.statefulsets, "ss", 1, 2, 4)


@conformance(f"{SUITE} should list, patch and delete a collection of StatefulSets [Conformance]")
def test_a_collection_of_statefulsets(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-ss"
    statefulset(work, name, 1)
    [listed] = work.statefulsets.items(label_selector=SELECTOR)
    assert listed["metadata"]["name"] == name
    settled(work, name)
    # A container of another name, which comes first; and a field's name in capitals, which is dropped.
    inner = {"TerminationGracePeriodSeconds": 1, "containers": [{"name": name, "image": PAUSE}]}
    patch = {
        "metadata": {"labels": {"test-ss": "patched"}},
        "spec": {"replicas": 2, "template": {"spec": inner}},
    }
    patched = work.statefulsets.patch(name, patch, STRATEGIC)
    assert patched["spec"]["replicas"] == 2 and images(patched) == [PAUSE, AGNHOST_OLD]
    assert patched["metadata"]["labels"]["test-ss"] == "patched"

    def updated(found: Object) -> bool:
        status = found["status"]
        return status.get("readyReplicas") == status.get("updatedReplicas") == 2

    until(work.statefulsets, name, updated, "both ready")
    for found in work.running(2, selector=SELECTOR):
        assert [c["name"] for c in found["spec"]["containers"]] == [name, "webserver"]
    work.statefulsets.delete_collection("test-ss=patched")
    everywhere = api.typed("apps/v1", "statefulsets")
    assert everywhere.items(label_selector="test-ss=patched") == [], "not gone at once"


@conformance(f"{SUITE} should validate Statefulset Status endpoints [Conformance]")
def test_the_status_of_a_statefulset(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    statefulset(work, "ss", 1)
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}

    def patched(found: Object) -> bool:
        return condition(found, "StatusPatched") is not None

    check_status(api, work.statefulsets, "ss", SELECTOR, patch, patched)
