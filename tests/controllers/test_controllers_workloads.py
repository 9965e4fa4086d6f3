"""Workloads on a running control plane."""

from __future__ import annotations

from typing import Any

from controllers_cluster import running

from sublet.kinds.resources import resource

REVISION = "deployment.kubernetes.io/revision"


def template(image: str = "nginx", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }


def deployment(replicas: int, image: str = "nginx", **spec: Any) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(image),
        **spec,
    }


async def test_a_new_namespace_gets_its_service_account_and_the_root_ca(
    cluster: Any, eventually: Any
) -> None:
    async def there() -> Any:
        accounts = [a["metadata"]["name"] for a in await cluster.items("serviceaccounts")]
        maps = [m["metadata"]["name"] for m in await cluster.items("configmaps")]
        return accounts == ["default"] and maps == ["kube-root-ca.crt"]

    await eventually(there)


async def test_a_deployment_becomes_available(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", deployment(3))

    async def available() -> Any:
        found = await cluster.get("deployments.apps", "web")
        return (found.get("status") or {}).get("availableReplicas") == 3 and found

    found = await eventually(available)
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    conditions = {c["type"]: c["reason"] for c in found["status"]["conditions"]}
    assert conditions["Available"] == "MinimumReplicasAvailable"


async def test_a_new_template_rolls_out_and_the_old_replica_set_stays_at_zero(
    cluster: Any, eventually: Any
) -> None:
    await cluster.make("deployments.apps", "web", deployment(3))

    async def available(revision: str) -> bool:
        found = await cluster.get("deployments.apps", "web")
        status = found.get("status") or {}
        numbers = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return numbers == [3, 3, 3] and found["metadata"]["annotations"].get(REVISION) == revision

    await eventually(lambda: available("1"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}}
    await cluster.client.patch(resource("deployments.apps"), "web", patch, "test", kind="strategic")
    await eventually(lambda: available("2"))
    sizes = sorted(r["spec"]["replicas"] for r in await cluster.items("replicasets.apps"))
    assert sizes == [0, 3]
    await cluster.client.patch(
        resource("deployments.apps"), "web",
        {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}}}, "test", kind="strategic",
    )  # fmt: skip
    await eventually(lambda: available("3"))
    assert len(await cluster.items("replicasets.apps")) == 2


async def test_recreate_starts_new_pods_only_after_the_old_are_gone(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", deployment(2, strategy={"type": "Recreate"}))

    async def images(wanted: str) -> bool:
        pods = await cluster.items("pods")
        found = [pod["spec"]["containers"][0]["image"] for pod in pods]
        assert len(set(found)) <= 1
        return found == [wanted] * 2 and all((p.get("status") or {}).get("phase") == "Running" for p in pods)

    await eventually(lambda: images("nginx"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}}
    await cluster.client.patch(resource("deployments.apps"), "web", patch, "test", kind="strategic")
    await eventually(lambda: images("other"))


async def test_a_replica_set_adopts_an_orphan_and_releases_what_matches_no_more(
    cluster: Any, eventually: Any
) -> None:
    orphan = {"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": template()["spec"]}
    await cluster.client.create(resource("pods"), orphan, "test")
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
    await cluster.make("replicasets.apps", "web", spec)

    async def owned() -> bool:
        return bool((await cluster.get("pods", "orphan"))["metadata"].get("ownerReferences"))

    await eventually(owned)
    assert len(await cluster.items("pods")) == 1
    await cluster.client.patch(resource("pods"), "orphan", {"metadata": {"labels": {"app": "other"}}}, "test")

    async def released() -> bool:
        pods = await cluster.items("pods")
        return len(pods) == 2 and not await owned()

    await eventually(released)


async def test_stateful_pods_come_in_order_with_claims_of_their_own(cluster: Any, eventually: Any) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "replicas": 3, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}}, "template": template(),
        "volumeClaimTemplates": [claim],
    }  # fmt: skip
    await cluster.make("statefulsets.apps", "web", spec)

    async def ready() -> Any:
        found = await cluster.get("statefulsets.apps", "web")
        return (found.get("status") or {}).get("readyReplicas") == 3

    await eventually(ready)
    pods = sorted(await cluster.items("pods"), key=lambda pod: int(pod["metadata"]["resourceVersion"]))
    assert {pod["metadata"]["name"] for pod in pods} == {"web-0", "web-1", "web-2"}
    claims = {claim["metadata"]["name"] for claim in await cluster.items("persistentvolumeclaims")}
    assert claims == {"data-web-0", "data-web-1", "data-web-2"}
    await cluster.client.patch(resource("statefulsets.apps"), "web", {"spec": {"replicas": 0}}, "test")

    async def gone() -> bool:
        return not await cluster.items("pods")

    await eventually(gone)


async def test_a_daemon_set_has_one_pod_per_node(cluster: Any, eventually: Any) -> None:
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template()}
    await cluster.make("daemonsets.apps", "web", spec)

    async def ready() -> Any:
        return ((await cluster.get("daemonsets.apps", "web")).get("status") or {}).get("numberAvailable") == 2

    await eventually(ready)
    first = {pod["metadata"]["name"] for pod in await cluster.items("pods")}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}}
    await cluster.client.patch(resource("daemonsets.apps"), "web", patch, "test", kind="strategic")

    async def updated() -> Any:
        status = (await cluster.get("daemonsets.apps", "web")).get("status") or {}
        seen = status.get("observedGeneration") == 2
        return seen and status.get("updatedNumberScheduled") == 2 and status.get("numberAvailable") == 2

    await eventually(updated)
    pods = {pod["metadata"]["name"] for pod in await cluster.items("pods")}
    assert len(pods) == 2 and not pods & first
    assert len(await cluster.items("controllerrevisions.apps")) == 2


async def test_a_service_has_endpoints_and_slices(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", deployment(2))
    await cluster.make(
        "services", "web", {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    )

    async def ready() -> Any:
        slices = await cluster.items("endpointslices.discovery.k8s.io")
        addresses = [
            each["addresses"][0]
            for found in slices
            for each in found.get("endpoints") or ()
            if each["conditions"]["ready"]
        ]
        subsets = [s for e in await cluster.items("endpoints") for s in e.get("subsets") or ()]
        listed = [a["ip"] for s in subsets for a in s.get("addresses") or ()]
        return len(addresses) == 2 and sorted(listed) == sorted(addresses) and slices

    slices = await eventually(ready)
    assert len(slices) == 1
    assert slices[0]["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    await cluster.client.patch(resource("deployments.apps"), "web", {"spec": {"replicas": 0}}, "test")

    async def empty() -> bool:
        found = await cluster.items("endpointslices.discovery.k8s.io")
        endpoints = await cluster.items("endpoints")
        return len(found) == 1 and not found[0].get("endpoints") and not endpoints[0].get("subsets")

    await eventually(empty)


async def test_hand_made_endpoints_are_mirrored(cluster: Any, eventually: Any) -> None:
    await cluster.make("services", "ext", {"ports": [{"port": 80}]})
    endpoints = {
        "metadata": {"name": "ext"}, "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 9090}]}],
    }  # fmt: skip
    await cluster.client.create(resource("endpoints"), endpoints, "test")

    async def mirrored() -> Any:
        found = await cluster.items("endpointslices.discovery.k8s.io")
        return len(found) == 1 and found[0]

    found = await eventually(mirrored)
    assert found["endpoints"][0]["addresses"] == ["10.1.2.3"] and found["ports"][0]["port"] == 9090
    assert found["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == (
        "endpointslicemirroring-controller.k8s.io"
    )
    await cluster.client.delete(resource("endpoints"), "ext", "test")

    async def gone() -> bool:
        return not await cluster.items("endpointslices.discovery.k8s.io")

    await eventually(gone)


async def test_a_claim_is_bound_to_the_smallest_volume_that_suits_and_releases_it(
    cluster: Any, eventually: Any
) -> None:
    for name, size in (("big", "10Gi"), ("small", "2Gi"), ("tiny", "1Mi")):
        spec = {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
            "hostPath": {"path": "/tmp"}, "persistentVolumeReclaimPolicy": "Retain",
        }  # fmt: skip
        await cluster.make("persistentvolumes", name, spec, "")

    async def available() -> bool:
        volumes = await cluster.items("persistentvolumes", "")
        return all(volume["status"].get("phase") == "Available" for volume in volumes)

    await eventually(available)
    spec = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip
    await cluster.make("persistentvolumeclaims", "data", spec)

    async def bound() -> Any:
        found = await cluster.get("persistentvolumeclaims", "data")
        return (found.get("status") or {}).get("phase") == "Bound" and found

    claim = await eventually(bound)
    assert claim["spec"]["volumeName"] == "small"
    assert claim["status"]["capacity"] == {"storage": "2Gi"}

    volume = await cluster.get("persistentvolumes", "small", "")
    reference = volume["spec"].pop("claimRef")  # as a replacement by the file that made it does
    await cluster.client.update(resource("persistentvolumes"), volume)

    async def bound_again() -> bool:
        found = await cluster.get("persistentvolumes", "small", "")
        again = found["spec"].get("claimRef") or {}
        return again.get("uid") == reference["uid"] and found["status"]["phase"] == "Bound"

    await eventually(bound_again)
    await cluster.client.delete(resource("persistentvolumeclaims"), "data", "test")

    async def released() -> bool:
        return (await cluster.get("persistentvolumes", "small", ""))["status"]["phase"] == "Released"

    await eventually(released)


async def test_a_job_whose_pods_succeed_completes(eventually: Any) -> None:
    async with running(None, 1, finish_seconds=0.1) as cluster:
        await cluster.namespace()
        pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
        spec = {"completions": 4, "parallelism": 2, "completionMode": "Indexed", "template": pod}
        await cluster.make("jobs.batch", "work", spec)

        async def complete() -> Any:
            found = await cluster.get("jobs.batch", "work")
            conditions = [c["type"] for c in (found.get("status") or {}).get("conditions") or ()]
            return "Complete" in conditions and found

        job = await eventually(complete)
        assert job["status"]["succeeded"] == 4 and job["status"]["completedIndexes"] == "0-3"
        assert job["status"]["uncountedTerminatedPods"] == {} and "completionTime" in job["status"]
        finalizers = [p["metadata"].get("finalizers") for p in await cluster.items("pods")]
        assert finalizers == [None] * 4
