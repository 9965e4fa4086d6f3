"""Claims, endpoints, events and nodes between a tenant and its host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from syncer_clusters import pod_spec, until

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import NotFound

Start = Callable[..., Awaitable[Any]]
HOST = "sublet-acme"


def claim_spec() -> Any:
    return {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip


async def host_volume(host: Any, name: str = "disk") -> None:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}
    await host.make("persistentvolumes", name, spec=spec)


async def test_a_claim_is_bound_by_the_host_and_shows_its_volume(clusters: Start) -> None:
    tenant, host = await clusters()
    await host_volume(host)
    await tenant.make("persistentvolumeclaims", "data", spec=claim_spec())

    async def bound() -> bool:
        claim = await tenant.get("persistentvolumeclaims", "data")
        return (claim.get("status") or {}).get("phase") == "Bound" and claim["spec"]["volumeName"] == "disk"

    await until(bound)
    copy = await tenant.copy("persistentvolumeclaims", "data")
    assert copy["status"] == (await tenant.get("persistentvolumeclaims", "data"))["status"]
    volume = await until(lambda: tenant.get("persistentvolumes", "disk"))
    assert volume["spec"]["claimRef"]["name"] == "data"
    await tenant.delete("persistentvolumeclaims", "data")
    await tenant.gone("persistentvolumeclaims", "data")
    await tenant.copy_gone("persistentvolumeclaims", "data")
    await tenant.gone("persistentvolumes", "disk")


async def test_a_stateful_set_with_claims_runs(clusters: Start) -> None:
    tenant, host = await clusters()
    for number in range(2):
        await host_volume(host, f"disk-{number}")
    spec = {
        "serviceName": "db",
        "replicas": 2,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": pod_spec()},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim_spec()}],
    }
    await tenant.make("statefulsets.apps", "db", spec=spec)
    for number in range(2):
        await tenant.running(f"db-{number}")
    copy = await tenant.copy("pods", "db-1")
    names = [volume["persistentVolumeClaim"]["claimName"] for volume in copy["spec"]["volumes"]
             if "persistentVolumeClaim" in volume]  # fmt: skip
    assert names == ["data-db-1-x-default-x-acme"]
    assert copy["spec"]["hostname"] == "db-1"


async def test_endpoints_a_user_wrote_reach_the_host(clusters: Start) -> None:
    tenant, _ = await clusters()
    subsets = [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]
    await tenant.make("endpoints", "outside", subsets=subsets)
    await asyncio.sleep(0.2)
    with pytest.raises(NotFound):
        await tenant.copy("endpoints", "outside")
    await tenant.make("services", "outside", spec={"ports": [{"port": 80}]})
    copy = await tenant.copied("endpoints", "outside")
    assert copy["subsets"][0]["addresses"] == [{"ip": "192.0.2.7"}]
    await tenant.patch("services", "outside", {"spec": {"selector": {"app": "web"}}})

    async def selected() -> bool:
        return objects.uid(await tenant.copy("endpoints", "outside")) != objects.uid(copy)

    # Now the host's own controller finds them.
    await until(selected)


async def test_what_happens_to_a_copy_is_told_in_the_tenant(clusters: Start) -> None:
    tenant, _host = await clusters()
    pod = await tenant.make("pods", "web", spec=pod_spec())
    await tenant.running("web")

    async def scheduled() -> Any:
        events = await tenant.items("events", field_selector="involvedObject.name=web")
        return next((each for each in events if each["reason"] == "Scheduled"), None)

    event = await until(scheduled)
    assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
    assert "default/web" in event["message"]
    for each in await tenant.items("events"):
        text = str(each)
        assert "-x-" not in text
        assert HOST not in text


async def test_nodes_stand_in_for_those_that_run_pods(clusters: Start) -> None:
    tenant, _ = await clusters()
    assert not await tenant.items("nodes", "")
    await tenant.make("pods", "web", spec=pod_spec(terminationGracePeriodSeconds=0))
    pod = await tenant.running("web")
    node = await tenant.get("nodes", pod["spec"]["nodeName"])
    assert objects.is_true(node, "Ready")
    assert not node["spec"].get("taints")
    assert node["metadata"]["labels"]["sublet.dev/fake-node"] == "true"
    await tenant.delete("pods", "web")
    await tenant.gone("nodes", pod["spec"]["nodeName"])


async def test_real_nodes_are_shown_where_the_host_allows_it(clusters: Start) -> None:
    tenant, host = await clusters(sync={"fromHost": {"nodes": {"enabled": True, "selector": {"all": True}}}})

    async def ready() -> Any:
        nodes = await tenant.items("nodes", "")
        return next((each for each in nodes if objects.is_true(each, "Ready")), None)

    shown = await until(ready)
    real = await host.get("nodes", shown["metadata"]["name"])
    assert shown["status"]["capacity"] == real["status"]["capacity"]
    await tenant.make("pods", "web", spec=pod_spec())
    await tenant.running("web")


async def test_storage_classes_are_shown_where_the_host_allows_it(clusters: Start) -> None:
    tenant, host = await clusters(sync={"fromHost": {"storageClasses": {"enabled": True}}})
    await host.make("storageclasses.storage.k8s.io", "fast", provisioner="example.org/fast")
    found = await until(lambda: tenant.get("storageclasses.storage.k8s.io", "fast"))
    assert found["provisioner"] == "example.org/fast"
    await host.client.delete(resource("storageclasses.storage.k8s.io"), "fast")
    await tenant.gone("storageclasses.storage.k8s.io", "fast")


async def test_a_pod_believes_to_be_in_the_tenants_cluster(clusters: Start) -> None:
    tenant, host = await clusters(dns=True)
    await tenant.make(
        "services", "kube-dns", "kube-system", spec={"ports": [{"port": 53, "protocol": "UDP"}]}
    )
    await tenant.make("services", "shop", spec={"ports": [{"port": 8080}]})
    await tenant.make("pods", "web", spec=pod_spec(), metadata={"labels": {"app": "web"}})
    await tenant.running("web")
    copy = await tenant.copy("pods", "web")
    spec = copy["spec"]
    api = (await host.get("services", "acme", HOST))["spec"]["clusterIP"]
    dns = (await tenant.get("services", "kube-dns", "kube-system"))["spec"]["clusterIP"]
    assert spec["dnsConfig"]["nameservers"] == [dns]
    assert spec["dnsConfig"]["searches"][0] == "default.svc.cluster.local"
    env = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    assert env["KUBERNETES_SERVICE_HOST"] == api
    assert env["SHOP_SERVICE_PORT"] == "8080"
    assert spec["hostAliases"][0]["ip"] == api
    assert not spec["automountServiceAccountToken"]
    token = await until_token(copy)
    review = await tenant.client.create(
        resource("tokenreviews.authentication.k8s.io"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}},
    )
    assert review["status"]["user"]["username"] == "system:serviceaccount:default:default"
    # The root certificates it mounts came along.
    await tenant.copied("configmaps", "kube-root-ca.crt")


async def until_token(copy: Any) -> str:
    found = [v for k, v in copy["metadata"]["annotations"].items() if k.startswith("sublet.dev/token-")]
    assert len(found) == 1
    return str(found[0])


async def test_tokens_can_travel_in_a_secret_of_the_pod(clusters: Start) -> None:
    tenant, host = await clusters(sync={"toHost": {"pods": {"useSecretsForSATokens": True}}})
    await tenant.make("pods", "web", spec=pod_spec())
    await tenant.running("web")
    copy = await tenant.copy("pods", "web")
    assert not [key for key in copy["metadata"]["annotations"] if "token-" in key]
    name = tenant.mapping.host_name("web-sa-token", "default")

    async def owned() -> bool:
        secret = await host.get("secrets", name, HOST)
        return bool(secret["metadata"]["ownerReferences"][0]["uid"] == copy["metadata"]["uid"])

    await until(owned)


async def test_a_pod_the_host_refuses_says_why_in_the_tenants_words(clusters: Start) -> None:
    tenant, host = await clusters()
    await host.make("resourcequotas", "none", HOST, spec={"hard": {"pods": "0"}})
    await tenant.make("pods", "web", spec=pod_spec())

    async def told() -> Any:
        events = await tenant.items("events", field_selector="involvedObject.name=web")
        return next((each for each in events if each["reason"] == "SyncError"), None)

    event = await until(told)
    assert "exceeded quota" in event["message"]
    assert "-x-" not in event["message"]
    assert HOST not in event["message"]


async def test_a_tenant_is_kept_to_its_nodes(clusters: Start) -> None:
    selector = {"labels": {"pool": "tenants"}}
    tenant, host = await clusters(sync={"fromHost": {"nodes": {"enabled": True, "selector": selector}}})
    (node,) = await until(lambda: host.items("nodes", ""))
    await tenant.make("pods", "web", spec=pod_spec())
    copy = await tenant.copied("pods", "web")
    assert copy["spec"]["nodeSelector"] == {"pool": "tenants"}
    await asyncio.sleep(0.2)
    assert not (await tenant.get("pods", "web"))["spec"].get("nodeName")
    await host.client.patch(
        resource("nodes"), node["metadata"]["name"], {"metadata": {"labels": {"pool": "tenants"}}}
    )
    await tenant.running("web")


async def test_a_claim_without_a_class_shows_the_hosts_default(clusters: Start) -> None:
    tenant, host = await clusters()
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    await host.make(
        "storageclasses.storage.k8s.io", "local", provisioner="example.org/local", metadata=default
    )
    spec = claim_spec()
    del spec["storageClassName"]
    await tenant.make("persistentvolumeclaims", "data", spec=spec)

    async def shown() -> bool:
        claim = await tenant.get("persistentvolumeclaims", "data")
        return claim["spec"].get("storageClassName") == "local"

    await until(shown)


async def test_the_api_service_comes_back(clusters: Start) -> None:
    tenant, host = await clusters()
    own = await host.get("services", "acme", HOST)
    before = await tenant.get("services", "kubernetes")
    await tenant.delete("services", "kubernetes")

    async def again() -> bool:
        now = await tenant.get("services", "kubernetes")
        same = now["spec"]["clusterIP"] == own["spec"]["clusterIP"]
        return bool(same and now["metadata"]["uid"] != before["metadata"]["uid"])

    await until(again)
