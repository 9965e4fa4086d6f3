from __future__ import annotations

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.duties import Duties
from sublet.apiserver.flowcontrol import maintenance
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable
from sublet.store.interface import Store


async def names(client: Client, kind: str) -> set[str]:
    return {objects.name(item) for item in (await client.list(resource(kind)))["items"]}


def owners(obj: Object) -> list[tuple[str, str, str]]:
    return [
        (entry["manager"], entry["operation"], entry.get("subresource", ""))
        for entry in obj["metadata"]["managedFields"]
    ]


async def test_a_new_cluster_has_its_namespaces(client: Client) -> None:
    assert await names(client, "namespaces") == {"default", "kube-system", "kube-public", "kube-node-lease"}
    default = await client.get(resource("namespaces"), "default")
    assert (default["spec"]["finalizers"], default["status"]["phase"]) == (["kubernetes"], "Active")
    assert objects.labels(default) == {"kubernetes.io/metadata.name": "default"}


async def test_a_new_cluster_has_its_priority_classes_and_flow_objects(client: Client) -> None:
    classes = await client.list(resource("priorityclasses.scheduling.k8s.io"))
    assert {objects.name(c): c["value"] for c in classes["items"]} == {
        "system-node-critical": 2000001000, "system-cluster-critical": 2000000000,
    }  # fmt: skip
    assert len(await names(client, "flowschemas.flowcontrol.apiserver.k8s.io")) == 13
    assert "exempt" in await names(client, "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io")


async def test_every_served_group_has_an_api_service(client: Client) -> None:
    found = await names(client, "apiservices.apiregistration.k8s.io")
    assert {"v1.", "v1.apps", "v1.batch", "v1.rbac.authorization.k8s.io"} <= found
    assert "v1.apiregistration.k8s.io" not in found
    one = await client.get(resource("apiservices.apiregistration.k8s.io"), "v1.apps")
    assert objects.is_true(one, "Available")
    priorities = {}
    for name in ("v1.", "v2.autoscaling", "v1.autoscaling", "v1.flowcontrol.apiserver.k8s.io"):
        spec = (await client.get(resource("apiservices.apiregistration.k8s.io"), name))["spec"]
        priorities[name] = (spec["groupPriorityMinimum"], spec["versionPriority"])
    assert list(priorities.values()) == [(18000, 1), (17500, 30), (17500, 15), (16100, 21)]


async def test_a_start_puts_the_api_services_of_earlier_ones_right(store: Store) -> None:
    where = resource("apiservices.apiregistration.k8s.io")
    newer = APIServer(APIServerSettings(), store)
    await newer.start()
    changed = await newer.client.get(where, "v1.batch")
    changed["spec"]["versionPriority"] = 3
    await newer.client.update(where, changed)
    own = await newer.client.get(where, "v1.policy")
    own["metadata"]["labels"] = {}
    own["spec"]["versionPriority"] = 3
    await newer.client.update(where, own)
    await newer.stop()
    older = APIServer(APIServerSettings(minor="1.30"), store)
    await older.start()
    found = {
        objects.name(each): each["spec"]["versionPriority"]
        for each in (await older.client.list(where))["items"]
    }
    await older.stop()
    assert "v1.resource.k8s.io" not in found
    assert (found["v1.batch"], found["v1.policy"]) == (15, 3)


async def test_servers_behind_this_one_find_whom_to_believe(client: Client) -> None:
    found = await client.get(resource("configmaps"), "extension-apiserver-authentication", "kube-system")
    assert found["data"]["requestheader-username-headers"] == '["X-Remote-User"]'


async def test_the_range_of_service_addresses_is_an_object(client: Client) -> None:
    found = await client.get(resource("servicecidrs.networking.k8s.io"), "kubernetes")
    assert found["spec"]["cidrs"] == ["10.0.0.0/24"]
    assert objects.is_true(found, "Ready")


async def test_what_the_server_keeps_itself_says_whose_it_is(api: APIServer, client: Client) -> None:
    await maintenance.mark_dangling(api)
    flow = await client.get(resource("flowschemas.flowcontrol.apiserver.k8s.io"), "exempt")
    prefix = "api-priority-and-fairness-config-"
    assert owners(flow) == [
        (f"{prefix}consumer-v1", "Apply", "status"), (f"{prefix}producer-v1", "Update", ""),
    ]  # fmt: skip
    cidr = await client.get(resource("servicecidrs.networking.k8s.io"), "kubernetes")
    assert owners(cidr) == [
        ("kubernetes-service-cidr-controller", "Apply", "status"), ("kube-apiserver", "Update", ""),
    ]  # fmt: skip
    condition = {"f:lastTransitionTime": {}, "f:message": {}, "f:reason": {}, "f:status": {}, "f:type": {}}
    assert cidr["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:status": {"f:conditions": {'k:{"type":"Ready"}': {".": {}, **condition}}}
    }


async def test_a_second_start_writes_nothing(store: Store) -> None:
    first = APIServer(APIServerSettings(advertise_address="10.1.2.3"), store)
    await first.start()
    before = await store.current_revision()
    await first.stop()
    second = APIServer(APIServerSettings(advertise_address="10.1.2.3"), store)
    await second.start()
    assert await store.current_revision() == before
    await second.stop()


async def test_it_is_ready_between_start_and_stop(store: Store) -> None:
    api = APIServer(APIServerSettings(), store)
    with pytest.raises(ServiceUnavailable):
        await api.ready()
    await api.start()
    await api.ready()
    await api.stop()
    with pytest.raises(ServiceUnavailable):
        await api.ready()


async def test_an_older_minor_serves_what_it_had(store: Store) -> None:
    api = APIServer(APIServerSettings(minor="1.30"), store)
    assert api.kinds.find("resource.k8s.io", "v1", "resourceclaims") is None
    await api.start()
    try:
        assert "default" in await names(api.client, "namespaces")
    finally:
        await api.stop()


async def test_values_of_an_earlier_version_are_served_and_rewritten(store: Store) -> None:
    old = APIServer(APIServerSettings(version="0.0.1"), store)
    await old.start()
    await old.client.create(
        resource("configmaps"), {"metadata": {"name": "a", "namespace": "default"}, "data": {"x": "1"}}
    )
    await old.stop()
    api = APIServer(APIServerSettings(version="0.0.2"), store)
    await api.start()
    try:
        assert (await api.client.get(resource("configmaps"), "a", "default"))["data"] == {"x": "1"}
        duties = Duties(api)
        while await duties.rewrite():
            await api.caches.fresh()
        entry = await store.get("/registry/core/configmaps/default/a")
        assert entry is not None
        assert entry.value.startswith(b"s2 0.0.2 1.36\n")
    finally:
        await api.stop()
