"""Deployments: both strategies, adoption, clean-up, rollover, proportions, scale, life and status."""

from __future__ import annotations

import time

from conformance_client import API, STRATEGIC, Object, Watch
from conformance_names import conformance
from conformance_steps import change, wait_for
from conformance_workloads import (
    AGNHOST,
    AGNHOST_OLD,
    LONG,
    PAUSE,
    Workloads,
    annotation,
    check_scale,
    check_status,
    container,
    images,
    is_complete,
    is_controlled,
    replicated,
    set_image,
    until,
)

POD_SECURITY = "privileged"
NODES = 2
REVISION = "deployment.kubernetes.io/revision"
AGNHOST_CONTAINER = container("agnhost", AGNHOST)


@conformance(
    "[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]"
)
def test_recreate(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-recreate-deployment"
    labels = {"name": "sample-pod-3"}
    work.deployments.create(
        replicated(name, 1, labels, container("agnhost", AGNHOST_OLD), strategy={"type": "Recreate"})
    )
    old = work.deployment_revision(name, "1", AGNHOST_OLD)
    deployment = work.deployment_complete(name)
    old_hash = old["metadata"]["labels"]["pod-template-hash"]
    version = work.pods.list()["metadata"]["resourceVersion"]
    with (
        work.deployments.watch(resource_version=version) as rollout,
        work.pods.watch(resource_version=version, label_selector="name=sample-pod-3") as watch,
    ):

        def other(found: Object) -> None:
            found["spec"]["template"]["spec"]["containers"][0]["name"] = "httpd"
            set_image(found, AGNHOST)

        generation = change(work.deployments, name, other)["metadata"]["generation"]
        old_pods_first(rollout, generation)
        work.deployment_revision(name, "2", AGNHOST)
        deployment = work.deployment_complete(name)
        old_is_gone = False
        while True:
            kind, pod = watch.next()
            is_old = pod["metadata"]["labels"]["pod-template-hash"] == old_hash
            old_is_gone |= is_old and (kind == "DELETED" or pod["status"]["phase"] in ("Failed", "Succeeded"))
            if not is_old:
                assert old_is_gone, "a new pod before the old one ended"
                break
    assert [r["spec"]["replicas"] for r in work.old_replicasets(deployment)] == [0]


def old_pods_first(watch: Watch, generation: int) -> None:
    """Follows a Recreate rollout to its end: updated pods are never counted beside old ones."""
    while True:
        status = watch.next(LONG)[1].get("status") or {}
        if status.get("observedGeneration", 0) < generation:
            continue
        replicas, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
        assert not updated or replicas == updated, "old pods run beside updated ones"
        if replicas == updated == 1:
            return


@conformance(
    "[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]"
)
def test_rolling_update_adopts_a_replicaset(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-rolling-update-deployment"
    labels = {"name": "sample-pod", "pod": "httpd"}
    manifest = replicated("test-rolling-update-controller", 1, labels, container("httpd", AGNHOST_OLD))
    manifest["metadata"]["annotations"] = {REVISION: "3546343826724305832"}
    replicaset = work.replicasets.create(manifest)
    work.running(1, selector="name=sample-pod")
    deployment = replicated(name, 1, {"name": "sample-pod"}, AGNHOST_CONTAINER)
    work.deployments.create(deployment)
    work.deployment_revision(name, "3546343826724305833", AGNHOST)
    found = work.deployment_complete(name)
    [old] = work.old_replicasets(found)
    assert old["metadata"]["uid"] == replicaset["metadata"]["uid"]
    assert old["spec"]["replicas"] == 0


@conformance("[sig-apps] Deployment deployment should delete old replica sets [Conformance]")
def test_old_replicasets_are_cleaned_up(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-cleanup-deployment"
    labels = {"name": "cleanup-pod", "pod": "httpd"}
    work.replicasets.create(replicated("test-cleanup-controller", 1, labels, container("httpd", AGNHOST_OLD)))
    work.running(1, selector="name=cleanup-pod")
    deployment = replicated(name, 1, {"name": "cleanup-pod"}, AGNHOST_CONTAINER, revisionHistoryLimit=0)
    version = work.pods.list()["metadata"]["resourceVersion"]
    with work.pods.watch(resource_version=version) as watch:
        work.deployments.create(deployment)
        found = work.deployment_complete(name)
        wait_for(lambda: not work.old_replicasets(found), "no old ReplicaSets", LONG)
        assert len(work.replicasets.items()) == 1
        added = []
        while True:
            try:
                kind, pod = watch.next(2.0)
            except TimeoutError:
                break
            added += [pod["spec"]["containers"][0]["name"]] if kind == "ADDED" else []
        assert added == ["agnhost"], "the adopted ReplicaSet made a pod again"


@conformance("[sig-apps] Deployment deployment should support rollover [Conformance]")
def test_rollover(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-rollover-deployment"
    pod_name = "rollover-pod"
    labels = {"name": pod_name, "pod": "httpd"}
    adopted = work.replicasets.create(
        replicated("test-rollover-controller", 1, labels, container("httpd", AGNHOST_OLD))
    )
    work.running(1, selector=f"name={pod_name}")
    wait_for(
        lambda: work.replicasets.get("test-rollover-controller")["status"].get("readyReplicas") == 1, "ready"
    )
    missing = "gcr.io/google_samples/gb-redisslave:nonexistent"
    deployment = replicated(
        name, 1, {"name": pod_name}, container("redis-slave", missing), minReadySeconds=10,
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
    )  # fmt: skip
    made = work.deployments.create(deployment)
    new = work.deployment_revision(name, "1", missing)
    wait_for(
        lambda: work.replicasets.get("test-rollover-controller")["metadata"].get("ownerReferences"), "adopted"
    )
    until(
        work.replicasets, new["metadata"]["name"], lambda o: o["status"].get("replicas") == 1, "one replica"
    )
    until(
        work.deployments, name,
        lambda o: o["status"].get("updatedReplicas", 0) >= 1
        and o["status"]["observedGeneration"] >= o["metadata"]["generation"],
        "updated",
    )  # fmt: skip
    assert work.replicasets.get(adopted["metadata"]["name"])["spec"]["replicas"] == 1
    old_names = {new["metadata"]["name"], "test-rollover-controller"}
    started = time.monotonic()

    def rollover(found: Object) -> None:
        found["spec"]["template"]["spec"]["containers"][0]["name"] = "agnhost"
        set_image(found, AGNHOST)

    change(work.deployments, name, rollover)
    work.deployment_revision(name, "2", AGNHOST)
    found = work.deployment_complete(name)
    assert time.monotonic() - started > 9, "minReadySeconds were not waited for"
    old = work.old_replicasets(found)
    assert {r["metadata"]["name"] for r in old} == old_names
    assert all(r["spec"]["replicas"] == 0 for r in old)
    assert all(is_controlled(r, made) for r in old)


@conformance("[sig-apps] Deployment deployment should support proportional scaling [Conformance]")
def test_proportional_scaling(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "webserver-deployment"
    limits = {"maxSurge": 3, "maxUnavailable": 2}
    work.deployments.create(
        replicated(
            name, 10, {"name": "httpd"}, container("httpd", AGNHOST),
            strategy={"type": "RollingUpdate", "rollingUpdate": limits},
        )
    )  # fmt: skip
    work.running(10, selector="name=httpd")
    deployment = work.deployment_complete(name)
    first = work.new_replicaset(deployment)
    assert first is not None
    change(work.deployments, name, lambda o: set_image(o, "webserver:404"))

    def second() -> Object | None:
        found = work.deployments.get(name)
        if found["status"]["observedGeneration"] < found["metadata"]["generation"]:
            return None
        return work.new_replicaset(found)

    new = wait_for(second, "the second rollout", LONG)
    assert new is not None
    first_name, second_name = first["metadata"]["name"], new["metadata"]["name"]
    until(work.replicasets, first_name, lambda o: o["status"].get("availableReplicas") == 8, "8 available")
    until(work.replicasets, first_name, lambda o: o["spec"]["replicas"] == 8, "8 wanted")
    until(work.replicasets, second_name, lambda o: o["spec"]["replicas"] == 5, "5 wanted")
    assert not work.replicasets.get(second_name)["status"].get("availableReplicas")
    until(
        work.deployments, name,
        lambda o: o["status"].get("availableReplicas") == 8 and o["status"]["replicas"] == 13, "8 of 13",
    )  # fmt: skip
    change(work.deployments, name, lambda o: o["spec"].update(replicas=30))
    until(work.replicasets, first_name, lambda o: o["spec"]["replicas"] == 20, "20 wanted")
    until(work.replicasets, second_name, lambda o: o["spec"]["replicas"] == 13, "13 wanted")


@conformance("[sig-apps] Deployment Deployment should have a working scale subresource [Conformance]")
def test_the_scale_of_a_deployment(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-new-deployment"
    work.deployments.create(replicated(name, 1, {"name": "httpd"}, container("httpd", AGNHOST)))
    work.deployment_complete(name)
    check_scale(work.deployments, name, 1, 2, 4)
    wait_for(lambda: work.deployments.get(name, "scale")["status"]["replicas"] == 4, "4 in scale's status")


@conformance("[sig-apps] Deployment should validate Deployment Status endpoints [Conformance]")
def test_the_status_of_a_deployment(api: API, namespace: str) -> None:
    work, name = Workloads(api, namespace), "test-deployment-status"
    labels = {"name": "sample-pod", "pod": "httpd", "e2e": "testing"}
    work.deployments.create(replicated(name, 1, labels, container("httpd", AGNHOST)))
    work.deployment_complete(name)
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    check_status(api, work.deployments, name, "e2e=testing", patch, has_condition("StatusPatched"))


def has_condition(kind: str) -> object:
    return lambda o: any(c["type"] == kind for c in o["status"].get("conditions", ()))


@conformance("[sig-apps] Deployment should run the lifecycle of a Deployment [Conformance]")
def test_the_life_of_a_deployment(api: API, namespace: str) -> None:
    work, name, selector = Workloads(api, namespace), "test-deployment", "test-deployment-static=true"
    resource = work.deployments
    labels = {"test-deployment-static": "true"}
    manifest = replicated(name, 2, labels, container(name, AGNHOST_OLD))
    with resource.watch(label_selector=selector) as watch:
        resource.create(manifest)
        watch.until("ADDED")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 2, LONG)
        # A field's name in capitals, as upstream's patch has it, is dropped with a warning.
        sleep = {"name": name, "image": PAUSE, "command": ["/bin/sleep", "100000"]}
        patch = {
            "metadata": {"labels": {"test-deployment": "patched"}},
            "spec": {
                "replicas": 1,
                "template": {"spec": {"TerminationGracePeriodSeconds": 0, "containers": [sleep]}},
            },
        }
        resource.patch(name, patch, STRATEGIC)
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-deployment") == "patched")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1 and is_complete(o), LONG)
        [listed] = api.typed("apps/v1", "deployments").items(label_selector=selector)
        assert listed["spec"]["replicas"] == 1 and images(listed) == [PAUSE]
        dynamic = api.dynamic("apps/v1", "deployments", "Deployment", namespace)
        again = replicated(name, 2, labels, container(name, AGNHOST))
        again["metadata"]["labels"] = {**labels, "test-deployment": "updated"}
        again["status"] = {}
        dynamic.update(again)  # without a resource version: whatever is there
        watch.until("MODIFIED", lambda o: images(o) == [AGNHOST] and is_complete(o), LONG)
        shown = dynamic.get(name, "status")
        assert shown["status"]["readyReplicas"] == 2 and annotation(shown, REVISION) == "3"
        patch = {
            "metadata": {"labels": {"test-deployment": "patched-status"}},
            "status": {"readyReplicas": 0, "availableReplicas": 0},
        }
        dynamic.patch(name, patch, STRATEGIC, "status")
        watch.until("MODIFIED", lambda o: not o["status"].get("readyReplicas"))
        shown = dynamic.get(name, "status")
        assert images(shown) == [AGNHOST]
        assert shown["metadata"]["labels"]["test-deployment"] == "updated", "the status brought a label"
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 2, LONG)
        resource.delete_collection(selector)
        watch.until("DELETED")
    wait_for(lambda: not work.replicasets.items(), "the ReplicaSets are collected", LONG)
