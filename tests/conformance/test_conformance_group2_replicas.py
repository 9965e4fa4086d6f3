"""ReplicaSets and ReplicationControllers: adoption, release, scale, status, quota, life."""

from __future__ import annotations

from collections.abc import Callable

from conformance_client import API, STRATEGIC, Object, Resource
from conformance_names import conformance
from conformance_steps import change, condition, resource_version, wait_for
from conformance_workloads import (
    AGNHOST,
    LONG,
    NGINX,
    PAUSE,
    Workloads,
    check_scale,
    check_status,
    container,
    controller,
    images,
    is_controlled,
    pod,
    replicated,
    until,
    when,
)

POD_SECURITY = "baseline"
NODES = 2


def adopted_and_released(work: Workloads, resource: Resource, name: str, owner: Object) -> None:
    """Creates a bare pod, then the owner that selects it; then the pod's label changes."""
    labels = {"name": name}
    bare = pod(name, labels, AGNHOST)
    work.pods.create(bare)
    work.pod_running(name)
    made = resource.create(owner)
    until(work.pods, name, lambda o: is_controlled(o, made), "adopted")
    assert len(work.pods.items(label_selector=f"name={name}")) == 1
    change(work.pods, name, lambda o: o["metadata"]["labels"].update(name="not-matching-name"))
    until(work.pods, name, lambda o: not is_controlled(o, made), "released")


@conformance(
    "[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]"
)
def test_replicasets_adopt_and_release(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "pod-adoption-release"
    owner = replicated(name, 1, {"name": name}, container(name, AGNHOST))
    adopted_and_released(work, work.replicasets, name, owner)


@conformance("[sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]")
def test_the_scale_of_a_replicaset(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-rs"
    work.replicasets.create(replicated(name, 1, {"name": "sample-pod"}, container("httpd", AGNHOST)))
    work.running(1, selector="name=sample-pod")
    until(work.replicasets, name, lambda o: o["status"].get("replicas") == 1, "counts its pod")
    check_scale(work.replicasets, name, 1, 2, 4)


@conformance("[sig-apps] ReplicaSet Replace and Patch tests [Conformance]")
def test_a_replicaset_is_scaled_and_patched(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-rs"
    labels = {"name": "sample-pod", "pod": "agnhost"}
    version = work.replicasets.list(label_selector="test-rs=patched")["metadata"]["resourceVersion"]
    made = work.replicasets.create(replicated(name, 1, labels, container("agnhost", AGNHOST)))
    work.running(1, selector="name=sample-pod")
    check_scale(work.replicasets, name, 1, 2)
    # A container of another name is another container, and comes first.
    inner = {"terminationGracePeriodSeconds": 0, "containers": [{"name": name, "image": PAUSE}]}
    patch = {
        "metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 3, "template": {"spec": inner}},
    }
    with work.replicasets.watch(resource_version=version, label_selector="test-rs=patched") as watch:
        patched = work.replicasets.patch(name, patch, STRATEGIC)
        assert resource_version(patched) > resource_version(made)
        watch.expect("ADDED")
        found = watch.until(
            "MODIFIED",
            lambda o: o["status"].get("readyReplicas") == o["status"].get("availableReplicas") == 3,
            LONG,
        )
    assert images(found) == [PAUSE, AGNHOST]
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 0


@conformance("[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]")
def test_a_collection_of_replicasets(api: API, namespace: str) -> None:
    work, selector = Workloads(api, namespace), "e2e=test-rs"
    labels = {"name": "sample-pod", "e2e": "test-rs"}
    work.replicasets.create(replicated("test-rs", 3, labels, container("httpd", AGNHOST)))
    work.running(3, selector="name=sample-pod")
    [found] = api.typed("apps/v1", "replicasets").items(label_selector=selector)
    assert found["metadata"]["name"] == "test-rs"
    work.replicasets.delete_collection(selector)
    left = api.typed("apps/v1", "replicasets").items(label_selector=selector)
    assert left == [], "not gone at once"


@conformance("[sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]")
def test_the_status_of_a_replicaset(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-rs"
    labels = {"name": "sample-pod", "pod": "httpd"}
    work.replicasets.create(replicated(name, 1, labels, container("httpd", AGNHOST)))
    work.running(1, selector="name=sample-pod")
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    patched: Callable[[Object], bool] = lambda o: condition(o, "StatusPatched") is not None  # noqa: E731
    check_status(api, work.replicasets, name, "name=sample-pod", patch, patched)


@conformance("[sig-apps] ReplicationController should adopt matching pods on creation [Conformance]")
def test_controllers_adopt(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "pod-adoption"
    work.pods.create(pod(name, {"name": name}, AGNHOST))
    work.pod_running(name)
    made = work.controllers.create(controller(name, 1, {"name": name}, container(name, AGNHOST)))
    until(work.pods, name, lambda o: is_controlled(o, made), "adopted")
    assert len(work.pods.items(label_selector=f"name={name}")) == 1


@conformance("[sig-apps] ReplicationController should release no longer matching pods [Conformance]")
def test_controllers_release(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "pod-release"
    made = work.controllers.create(controller(name, 1, {"name": name}, container(name, AGNHOST)))
    [found] = wait_for(lambda: work.pods.items(label_selector=f"name={name}"), "its pod")
    pod_name = found["metadata"]["name"]
    change(work.pods, pod_name, lambda o: o["metadata"]["labels"].update(name="not-matching-name"))
    until(work.pods, pod_name, lambda o: not is_controlled(o, made), "released")


@conformance(
    "[sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]"
)
def test_the_scale_of_a_controller(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "e2e-rc-scale"
    work.controllers.create(controller(name, 1, {"app": name}, container(name, AGNHOST)))
    until(work.controllers, name, lambda o: o["status"].get("replicas") == 1, "one replica")
    check_scale(work.controllers, name, 1, 2)
    until(work.controllers, name, lambda o: o["status"].get("replicas") == 2, "two replicas")


@conformance(
    "[sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota "
    "[Conformance]"
)
def test_an_exceeded_quota_is_a_condition(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "condition-test"
    quotas = api.typed("v1", "resourcequotas", namespace)
    quotas.create({"metadata": {"name": name}, "spec": {"hard": {"pods": "2"}}})
    until(quotas, name, lambda o: (o.get("status") or {}).get("hard") == {"pods": "2"}, "calculated")
    made = work.controllers.create(controller(name, 3, {"name": name}, container("pause", PAUSE)))
    generation = made["metadata"]["generation"]

    def failing(found: Object) -> bool:
        if found["status"].get("observedGeneration", 0) < generation:
            return False
        return condition(found, "ReplicaFailure") is not None

    until(work.controllers, name, failing, "says that it fails")
    change(work.controllers, name, lambda o: o["spec"].update(replicas=2))
    until(work.controllers, name, lambda o: condition(o, "ReplicaFailure") is None, "does not fail any more")


@conformance(
    "[sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]"
)
def test_the_life_of_a_controller(api: API, namespace: str) -> None:
    work, name, selector = Workloads(api, namespace), "rc-test", "test-rc-static=true"
    resource = work.controllers
    labels = {"test-rc-static": "true"}
    manifest = controller(name, 1, labels, container(name, NGINX))
    manifest["metadata"]["labels"] = labels
    with resource.watch(label_selector=selector) as watch:
        resource.create(manifest)
        watch.until("ADDED")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1, LONG)
        # A typed client's patch has a spec and a status too; they say nothing.
        patch = {"metadata": {"labels": {"test-rc": "patched"}}, "spec": {}, "status": {"replicas": 0}}
        resource.patch(name, patch, STRATEGIC)
        patched = watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-rc") == "patched")
        assert patched["status"]["replicas"] == 1, "the main endpoint wrote a status"
        resource.patch(name, {"status": {"readyReplicas": 0, "availableReplicas": 0}}, STRATEGIC, "status")
        watch.until("MODIFIED", lambda o: not o["status"].get("readyReplicas"))
        dynamic = api.dynamic("v1", "replicationcontrollers", "ReplicationController", namespace)
        assert "status" in dynamic.get(name, "status")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1, LONG)
        resource.patch(name, {"spec": {"replicas": 2}, "status": {"replicas": 0}}, STRATEGIC, "scale")
        watch.until(
            "MODIFIED", lambda o: o["spec"]["replicas"] == 2 and o["status"].get("readyReplicas") == 2, LONG
        )
        settled = resource.get(name)  # nobody writes it any more: no conflict
        settled["status"].update(availableReplicas=1, readyReplicas=1)
        resource.update(settled, "status")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1)
        [listed] = api.typed("v1", "replicationcontrollers").items(label_selector=selector)
        assert listed["metadata"]["name"] == name and listed["metadata"]["labels"]["test-rc"] == "patched"
        resource.delete_collection(selector)
        watch.until("DELETED")
    assert when(resource, name, lambda _: True) is None
