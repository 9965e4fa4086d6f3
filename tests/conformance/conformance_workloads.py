"""Pods and what makes pods, as the upstream suite writes them, and the waits its tests of workloads share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance_client import API, APIError, Object, Resource
from conformance_steps import change, condition, wait_for

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
AGNHOST_OLD = "registry.k8s.io/e2e-test-images/agnhost:2.55"
PAUSE = "registry.k8s.io/pause:3.10.2"
NGINX = "registry.k8s.io/e2e-test-images/nginx:1.15-4"
BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"
LONG = 60.0
"""Seconds a workload may take to settle; upstream allows minutes."""

SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def container(name: str = "nginx", image: str = NGINX, **more: Any) -> Object:
    return {"name": name, "image": image, "securityContext": SECURITY, **more}


def pod_spec(*containers: Object, **more: Any) -> Object:
    """Admitted at every pod security level."""
    return {
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers) or [container()],
        **more,
    }  # fmt: skip


def pod(name: str, labels: Object | None = None, image: str = PAUSE, **spec: Any) -> Object:
    metadata: Object = {"name": name, "labels": labels or {}}
    return {"metadata": metadata, "spec": {**pod_spec(container("pause", image)), **spec}}


def template(labels: Object, *containers: Object, **spec: Any) -> Object:
    return {"metadata": {"labels": labels}, "spec": pod_spec(*containers, **spec)}


def controller(name: str, replicas: int, labels: Object, *containers: Object, **spec: Any) -> Object:
    """A ReplicationController."""
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": labels,
            "template": template(labels, *containers, terminationGracePeriodSeconds=0),
            **spec,
        },
    }


def replicated(name: str, replicas: int, labels: Object, *containers: Object, **spec: Any) -> Object:
    """A ReplicaSet or Deployment."""
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template(labels, *containers, terminationGracePeriodSeconds=0),
            **spec,
        },
    }


class Workloads:
    """The resources of one namespace that these tests touch."""

    def __init__(self, api: API, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.pods = api.typed("v1", "pods", namespace)
        self.controllers = api.typed("v1", "replicationcontrollers", namespace)
        self.services = api.typed("v1", "services", namespace)
        self.replicasets = api.typed("apps/v1", "replicasets", namespace)
        self.deployments = api.typed("apps/v1", "deployments", namespace)
        self.statefulsets = api.typed("apps/v1", "statefulsets", namespace)
        self.daemonsets = api.typed("apps/v1", "daemonsets", namespace)
        self.revisions = api.typed("apps/v1", "controllerrevisions", namespace)

    def running(self, count: int, limit: float = LONG, selector: str | None = None) -> list[Object]:
        """Waits for exactly so many pods, all running and ready."""

        def ask() -> list[Object] | None:
            found = [p for p in self.pods.items(label_selector=selector) if not deleting(p)]
            return found if len(found) == count and all(is_ready(p) for p in found) else None

        found = wait_for(ask, f"{count} running pods with {selector}", limit)
        assert found is not None
        return found

    def pod_running(self, name: str, limit: float = LONG) -> Object:
        return wait_for(lambda: when(self.pods, name, is_ready), f"pod {name} runs", limit)

    def no_pods(self, selector: str | None = None, limit: float = LONG) -> None:
        wait_for(lambda: not self.pods.items(label_selector=selector), f"no pods with {selector}", limit)

    def deployment_complete(self, name: str, limit: float = LONG) -> Object:
        return wait_for(
            lambda: when(self.deployments, name, is_complete), f"deployment {name} complete", limit
        )

    def deployment_revision(self, name: str, revision: str, image: str) -> Object:
        """Waits for a new ReplicaSet with this revision and image, and hands it out."""

        def ask() -> Object | None:
            found = self.deployments.get(name)
            new = self.new_replicaset(found)
            if new is None or images(found) != [image] or images(new) != [image]:
                return None
            stated = [annotation(o, "deployment.kubernetes.io/revision") for o in (found, new)]
            return new if stated == [revision, revision] else None

        found = wait_for(ask, f"revision {revision} of deployment {name} with {image}", LONG)
        assert found is not None
        return found

    def owned(self, owner: Object) -> list[Object]:
        """The ReplicaSets of a Deployment."""
        return [r for r in self.replicasets.items() if is_controlled(r, owner)]

    def new_replicaset(self, deployment: Object) -> Object | None:
        wanted = deployment["spec"]["template"]["spec"]
        return next((r for r in self.owned(deployment) if r["spec"]["template"]["spec"] == wanted), None)

    def old_replicasets(self, deployment: Object) -> list[Object]:
        new = self.new_replicaset(deployment)
        return [r for r in self.owned(deployment) if new is None or uid(r) != uid(new)]


def uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def names(found: list[Object]) -> list[str]:
    return sorted(name_of(o) for o in found)


def deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def annotation(obj: Object, key: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(key, ""))


def is_ready(pod: Object) -> bool:
    state = condition(pod, "Ready")
    running = pod.get("status", {}).get("phase") == "Running"
    return running and state is not None and state["status"] == "True"


def is_controlled(obj: Object, owner: Object) -> bool:
    return any(
        r.get("controller") and r["uid"] == uid(owner) for r in obj["metadata"].get("ownerReferences") or ()
    )


def is_complete(deployment: Object) -> bool:
    """As the deployment controller's own rule."""
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    return (
        all(status.get(k, 0) == wanted for k in ("updatedReplicas", "replicas", "availableReplicas"))
        and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    )


def images(workload: Object) -> list[str]:
    return [c["image"] for c in workload["spec"]["template"]["spec"]["containers"]]


def set_image(workload: Object, image: str) -> None:
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = image


def when(resource: Resource, name: str, holds: Callable[[Object], Any]) -> Object | None:
    """The object where it is there and this holds."""
    try:
        found = resource.get(name)
    except APIError as error:
        if error.reason == "NotFound":
            return None
        raise
    return found if holds(found) else None


def until(
    resource: Resource, name: str, holds: Callable[[Object], Any], what: str, limit: float = LONG
) -> Object:
    found = wait_for(lambda: when(resource, name, holds), f"{resource.plural} {name}: {what}", limit)
    assert found is not None
    return found


def check_scale(resource: Resource, name: str, first: int, second: int, patched: int | None = None) -> None:
    """Reads, updates and where asked patches the scale subresource; the object's spec follows."""
    scale = resource.get(name, "scale")
    assert (scale["apiVersion"], scale["kind"]) == ("autoscaling/v1", "Scale")
    assert (scale["spec"].get("replicas", 0), scale["status"].get("replicas", 0)) == (first, first)
    scale["metadata"]["resourceVersion"] = ""
    scale["spec"]["replicas"] = second
    written = resource.send("PUT", resource.path(name, "scale"), scale)
    assert written["spec"]["replicas"] == second
    assert resource.get(name)["spec"]["replicas"] == second
    if patched is not None:
        resource.patch(name, {"spec": {"replicas": patched}}, subresource="scale")
        assert resource.get(name)["spec"]["replicas"] == patched


def check_status(
    api: API, resource: Resource, name: str, selector: str, patch: Object,
    patched: Callable[[Object], bool],
) -> None:  # fmt: skip
    """The "status endpoints" tests: reads, updates and patches /status while a watch sees both."""
    dynamic = api.dynamic(resource.api_version, resource.plural, resource.kind, resource.namespace)
    assert "status" in dynamic.get(name, "status")
    stated = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    version = resource.list(label_selector=selector)["metadata"]["resourceVersion"]
    with resource.watch(resource_version=version, label_selector=selector) as watch:

        def edit(found: Object) -> None:
            found.setdefault("status", {}).setdefault("conditions", []).append(stated)

        change(resource, name, edit, "status")

        def has_update(found: Object) -> bool:
            state = condition(found, "StatusUpdate")
            return state is not None and all(state[k] == v for k, v in stated.items())

        watch.until("MODIFIED", has_update)
        answered = resource.patch(name, patch, subresource="status")
        assert patched(answered)
        watch.until("MODIFIED", patched)
