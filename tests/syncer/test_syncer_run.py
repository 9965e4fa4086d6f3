"""A tenant's objects on a real host: there and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from syncer_clusters import pod_spec, until

from sublet.kinds.resources import resource
from sublet.machinery.status import AlreadyExists, NotFound

Start = Callable[..., Awaitable[Any]]


async def test_a_pod_runs_on_the_host_and_reports_back(clusters: Start) -> None:
    tenant, _host = await clusters()
    await tenant.make("pods", "web", spec=pod_spec())
    pod = await tenant.running("web")
    copy = await tenant.copy("pods", "web")
    assert pod["spec"]["nodeName"] == copy["spec"]["nodeName"]
    assert pod["status"]["podIP"] == copy["status"]["podIP"]
    assert copy["metadata"]["name"] == "web-x-default-x-acme"
    assert copy["spec"]["serviceAccountName"] == "sublet-workload-acme"


async def test_a_service_has_the_hosts_address_from_the_start(clusters: Start) -> None:
    tenant, _ = await clusters()
    made = await tenant.make("services", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    copy = await tenant.copy("services", "web")
    assert made["spec"]["clusterIP"] == copy["spec"]["clusterIP"]
    assert copy["spec"]["selector"] == {
        "app": "web", "sublet.dev/managed-by": "acme", "sublet.dev/namespace": "default",
    }  # fmt: skip

    async def unblocked() -> bool:
        copy = await tenant.copy("services", "web")
        return "sublet.dev/block-deletion" not in copy["metadata"]["annotations"]

    await until(unblocked)
    again = await tenant.get("services", "web")
    assert again["metadata"]["uid"] == made["metadata"]["uid"]


async def test_node_ports_are_the_hosts(clusters: Start) -> None:
    tenant, _ = await clusters()
    made = await tenant.make("services", "web", spec={"type": "NodePort", "ports": [{"port": 80}]})
    copy = await tenant.copy("services", "web")
    assert made["spec"]["ports"] == copy["spec"]["ports"]
    assert made["spec"]["ports"][0]["nodePort"]


async def test_a_service_that_becomes_a_node_port_gets_the_hosts_port(clusters: Start) -> None:
    tenant, _ = await clusters()
    await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    await tenant.patch("services", "web", {"spec": {"type": "NodePort"}})

    async def port() -> Any:
        return (await tenant.get("services", "web"))["spec"]["ports"][0].get("nodePort")

    number = await until(port)
    assert (await tenant.copy("services", "web"))["spec"]["ports"][0]["nodePort"] == number


async def test_a_service_stops_being_external(clusters: Start) -> None:
    tenant, _ = await clusters()
    await tenant.make("services", "web", spec={"type": "ExternalName", "externalName": "example.org"})
    await tenant.copied("services", "web")
    patch = {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}}
    changed = await tenant.patch("services", "web", patch)
    assert changed["spec"]["clusterIP"] == (await tenant.copy("services", "web"))["spec"]["clusterIP"]


async def test_a_refused_service_leaves_nothing_on_the_host(clusters: Start) -> None:
    """The host has said yes, the tenant's store says no: the copy goes."""
    tenant, _host = await clusters()
    first = await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    with pytest.raises(AlreadyExists, match='services "web" already exists'):
        await tenant.make("services", "web", spec={"ports": [{"port": 81}]})
    copy = await tenant.copy("services", "web")
    assert copy["spec"]["clusterIP"] == first["spec"]["clusterIP"]
    assert copy["spec"]["ports"][0]["port"] == 80
    dry = await tenant.client.create(
        resource("services"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dry"}, "spec": {"ports": [{"port": 80}]}},
        "default", dry_run=True,
    )  # fmt: skip
    assert dry["spec"]["clusterIP"]
    with pytest.raises(NotFound):
        await tenant.copy("services", "dry")


async def test_a_service_deleted_and_made_again_keeps_its_copy_or_gets_another(clusters: Start) -> None:
    tenant, _ = await clusters()
    for _ in range(5):
        made = await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
        await tenant.delete("services", "web")
    made = await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    await asyncio.sleep(0.3)
    copy = await tenant.copy("services", "web")
    current = await tenant.get("services", "web")
    assert current["metadata"]["uid"] == made["metadata"]["uid"]
    assert current["spec"]["clusterIP"] == copy["spec"]["clusterIP"]


async def test_the_tenants_api_has_the_address_of_its_host_service(clusters: Start) -> None:
    tenant, host = await clusters()
    own = await host.get("services", "acme", "sublet-acme")

    async def same() -> bool:
        return (await tenant.get("services", "kubernetes"))["spec"]["clusterIP"] == own["spec"]["clusterIP"]

    await until(same)


async def test_only_what_pods_use_is_copied(clusters: Start) -> None:
    tenant, _ = await clusters()
    for name in ("used", "unused"):
        await tenant.make("configmaps", name, data={"a": "1"})
        await tenant.make("secrets", name, data={"a": "MQ=="})
    sources = [{"configMapRef": {"name": "used"}}, {"secretRef": {"name": "used"}}]
    spec = pod_spec()
    spec["containers"][0]["envFrom"] = sources
    await tenant.make("pods", "web", spec=spec)
    assert (await tenant.copied("configmaps", "used"))["data"] == {"a": "1"}
    assert (await tenant.copied("secrets", "used"))["data"] == {"a": "MQ=="}
    await tenant.running("web")
    for plural in ("configmaps", "secrets"):
        with pytest.raises(NotFound):
            await tenant.copy(plural, "unused")
    await tenant.delete("pods", "web", grace=0)
    await tenant.copy_gone("configmaps", "used")
    await tenant.copy_gone("secrets", "used")
    assert await tenant.get("configmaps", "used")


async def test_data_flows_both_ways(clusters: Start) -> None:
    tenant, host = await clusters(sync={"toHost": {"configMaps": {"all": True}}})
    await tenant.make("configmaps", "shared", data={"a": "1", "b": "1"})
    copy = await tenant.copied("configmaps", "shared")
    name, where = copy["metadata"]["name"], "sublet-acme"
    await host.patch("configmaps", name, {"data": {"b": "2"}}, where)

    async def arrived() -> bool:
        return (await tenant.get("configmaps", "shared"))["data"]["b"] == "2"

    await until(arrived)
    await tenant.patch("configmaps", "shared", {"data": {"a": None}})

    async def both() -> bool:
        found = [await tenant.get("configmaps", "shared"), await tenant.copy("configmaps", "shared")]
        return [each["data"] for each in found] == [{"b": "2"}, {"b": "2"}]

    await until(both)


async def test_labels_and_annotations_flow_both_ways(clusters: Start) -> None:
    tenant, host = await clusters()
    await tenant.make("pods", "web", spec=pod_spec(), metadata={"labels": {"app": "web", "release": "acme"}})
    await tenant.running("web")
    copy = await tenant.copy("pods", "web")
    assert copy["metadata"]["labels"]["app"] == "web"
    assert "release" not in copy["metadata"]["labels"]
    await host.patch(
        "pods", copy["metadata"]["name"], {"metadata": {"labels": {"seen": "yes"}, "annotations": {"n": "1"}}},
        "sublet-acme",
    )  # fmt: skip

    async def arrived() -> Any:
        pod = await tenant.get("pods", "web")
        return pod["metadata"]["labels"].get("seen") and pod["metadata"].get("annotations", {}).get("n")

    await until(arrived)
    pod = await tenant.get("pods", "web")
    assert pod["metadata"]["labels"] == {"app": "web", "release": "acme", "seen": "yes"}
    assert not [key for key in pod["metadata"]["annotations"] if key.startswith("sublet.dev/")]
    await tenant.patch("pods", "web", {"metadata": {"labels": {"app": None}}})

    async def removed() -> bool:
        return "app" not in (await tenant.copy("pods", "web"))["metadata"]["labels"]

    await until(removed)


async def test_deleting_in_the_tenant_deletes_on_the_host(clusters: Start) -> None:
    tenant, _ = await clusters()
    await tenant.make("pods", "web", spec=pod_spec(terminationGracePeriodSeconds=1))
    await tenant.running("web")
    await tenant.delete("pods", "web")
    await tenant.gone("pods", "web")
    await tenant.copy_gone("pods", "web")


async def test_deleting_on_the_host_deletes_in_the_tenant(clusters: Start) -> None:
    tenant, host = await clusters()
    await tenant.make("pods", "web", spec=pod_spec(terminationGracePeriodSeconds=1))
    await tenant.running("web")
    await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    await asyncio.sleep(0.1)
    for plural in ("pods", "services"):
        await host.delete(plural, "web-x-default-x-acme", "sublet-acme")
        await tenant.gone(plural, "web")


async def test_a_deployment_runs_and_scales(clusters: Start) -> None:
    tenant, host = await clusters()
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(terminationGracePeriodSeconds=0)}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await tenant.make("deployments.apps", "web", spec=spec)

    async def available(count: int) -> bool:
        status = (await tenant.get("deployments.apps", "web")).get("status") or {}
        return bool(status.get("availableReplicas", 0) == count == status.get("replicas"))

    await until(lambda: available(3))
    assert len(await host.items("pods", "sublet-acme")) == 3
    await tenant.patch("deployments.apps", "web", {"spec": {"replicas": 1}})
    await until(lambda: available(1))
    await tenant.delete("deployments.apps", "web")

    async def nothing() -> bool:
        return not await host.items("pods", "sublet-acme") and not await tenant.items("pods")

    await until(nothing)


async def test_two_tenants_hold_objects_of_equal_names(clusters: Start) -> None:
    one, host = await clusters("one")
    two, _ = await clusters("two")
    for tenant in (one, two):
        await tenant.make(
            "pods", "web", spec=pod_spec(), metadata={"labels": {"of": tenant.settings.tenant_name}}
        )
        await tenant.running("web")
    for tenant in (one, two):
        assert len(await tenant.items("pods")) == 1
        name = tenant.settings.tenant_name
        assert (await tenant.copy("pods", "web"))["metadata"]["labels"]["of"] == name
    assert (
        len([each for each in await host.items("pods", "") if each["metadata"]["name"].startswith("web")])
        == 2
    )


async def test_a_pod_deleted_and_made_again_at_once_gets_a_copy_of_its_own(clusters: Start) -> None:
    tenant, _ = await clusters()
    first = await tenant.make("pods", "web", spec=pod_spec(terminationGracePeriodSeconds=1))
    await tenant.running("web")
    await tenant.delete("pods", "web", grace=0)
    second = await tenant.make("pods", "web", spec=pod_spec())
    assert first["metadata"]["uid"] != second["metadata"]["uid"]

    async def its_own() -> bool:
        copy = await tenant.copy("pods", "web")
        return bool(copy["metadata"]["annotations"]["sublet.dev/object-uid"] == second["metadata"]["uid"])

    await until(its_own)
    await tenant.running("web")


async def test_a_foreign_object_is_never_touched(clusters: Start) -> None:
    tenant, host = await clusters()
    foreign = await host.make("pods", "web-x-default-x-acme", "sublet-acme", spec=pod_spec())
    await tenant.make("pods", "web", spec=pod_spec())
    await asyncio.sleep(0.3)
    await tenant.delete("pods", "web")
    await asyncio.sleep(0.2)
    now = await host.get("pods", "web-x-default-x-acme", "sublet-acme")
    assert now["metadata"]["uid"] == foreign["metadata"]["uid"]
    assert now["metadata"].get("labels") == foreign["metadata"].get("labels")


async def test_a_restart_changes_nothing(clusters: Start) -> None:
    tenant, host = await clusters()
    await tenant.make("configmaps", "settings", data={"a": "1"})
    spec = pod_spec()
    spec["containers"][0]["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    await tenant.make("pods", "web", spec=spec)
    await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    await tenant.running("web")
    await asyncio.sleep(0.3)

    async def state() -> list[Any]:
        found = []
        for plural in ("pods", "services", "configmaps"):
            found += await host.items(plural, "sublet-acme") + await tenant.items(plural)
        return [(each["metadata"]["name"], each["metadata"]["resourceVersion"]) for each in found]

    before = await state()
    await tenant.restart_syncer()
    await tenant.syncer.synced()
    await asyncio.sleep(0.5)
    assert await state() == before


async def test_what_went_while_the_syncer_was_away_is_put_right(clusters: Start) -> None:
    tenant, host = await clusters(sync={"toHost": {"configMaps": {"all": True}}})
    for name in ("kept", "orphan"):
        await tenant.make("configmaps", name, data={"a": "1"})
        await tenant.copied("configmaps", name)
    await tenant.make("pods", "web", spec=pod_spec())
    await tenant.running("web")
    await tenant.syncer.stop()
    await tenant.delete("configmaps", "orphan")
    await host.delete("configmaps", "kept-x-default-x-acme", "sublet-acme")
    await host.delete("pods", "web-x-default-x-acme", "sublet-acme", grace=0)
    await tenant.syncer.start()
    await tenant.copy_gone("configmaps", "orphan")
    assert (await tenant.copied("configmaps", "kept"))["data"] == {"a": "1"}
    # A pod that ran cannot run again.
    await tenant.gone("pods", "web")


async def test_a_copy_that_lost_its_label_gets_it_back(clusters: Start) -> None:
    tenant, host = await clusters(sync={"toHost": {"configMaps": {"all": True}}})
    made = await tenant.make("configmaps", "settings", data={"a": "1"})
    copy = await tenant.copied("configmaps", "settings")
    await asyncio.sleep(0.1)
    patch = {"metadata": {"labels": {"sublet.dev/managed-by": None}}}
    await host.patch("configmaps", copy["metadata"]["name"], patch, "sublet-acme")

    async def labelled() -> bool:
        found = await tenant.copy("configmaps", "settings")
        return found["metadata"]["labels"].get("sublet.dev/managed-by") == "acme"

    await until(labelled)
    assert (await tenant.get("configmaps", "settings"))["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_service_whose_copy_was_lost_takes_the_new_address(clusters: Start) -> None:
    """As after a restore: the host gives another address, and an address cannot be changed."""
    tenant, host = await clusters()
    made = await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    await tenant.syncer.stop()
    await host.delete("services", "web-x-default-x-acme", "sublet-acme")
    await host.make(
        "services", "taker", spec={"clusterIP": made["spec"]["clusterIP"], "ports": [{"port": 80}]}
    )
    await tenant.syncer.start()

    async def same() -> bool:
        copy, mine = await tenant.copy("services", "web"), await tenant.get("services", "web")
        return bool(copy["spec"]["clusterIP"] == mine["spec"]["clusterIP"] != made["spec"]["clusterIP"])

    await until(same)
    await asyncio.sleep(0.3)
    assert await same()
