"""Host clusters that are not sublet's own: stricter, poorer, and seen with few rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.controlplane import config
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machinery.status import Forbidden
from sublet.tenants.kubernetes import Tenants
from sublet.tenants.manifests import TenantError

NAMESPACES, PODS = resource("namespaces"), resource("pods")
IN_THE_POD = {"controlPlane": {"statefulSet": {"persistence": {"volumeClaim": {"enabled": False}}}}}
TEAM = User("dev", ("system:authenticated",))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://", scheduler=False))
    await plane.start()
    yield plane
    await plane.stop()


async def namespace(host: ControlPlane, name: str, **labels: str) -> None:
    metadata = {"name": name, "labels": labels}
    await host.client().create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


async def create(client: Client, name: str, where: str, timeout: float = 5, document: object = None) -> None:
    chosen = config.load(IN_THE_POD if document is None else document)
    await Tenants(client).create(name, where, chosen, "", "sublet:test", timeout=timeout)


async def test_a_namespace_of_the_restricted_standard_says_which_it_must_be(host: ControlPlane) -> None:
    await namespace(host, "strict", **{"pod-security.kubernetes.io/enforce": "restricted"})
    with pytest.raises(TenantError) as told:
        await create(host.client(), "demo", "strict", timeout=20)
    assert "refuses the control plane's pod demo-0" in str(told.value)
    assert "kubectl label namespace strict --overwrite pod-security.kubernetes.io/enforce=baseline" in str(
        told.value
    )


async def test_the_control_plane_keeps_to_the_baseline_standard(host: ControlPlane) -> None:
    await namespace(host, "usual", **{"pod-security.kubernetes.io/enforce": "baseline"})
    with pytest.raises(TenantError, match="is not ready after"):  # nothing runs pods here
        await create(host.client(), "demo", "usual", timeout=1)
    assert (await host.client().get(PODS, "demo-0", "usual"))["metadata"]["name"] == "demo-0"


async def test_an_exhausted_quota_is_told(host: ControlPlane) -> None:
    await namespace(host, "full")
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "full"},
        "spec": {"hard": {"pods": "0"}},
    }  # fmt: skip
    await host.client().create(resource("resourcequotas"), quota)
    with pytest.raises(TenantError, match=r"refuses the control plane's pod demo-0 .* exceeded quota"):
        await create(host.client(), "demo", "full", timeout=20)


async def test_a_host_without_a_default_storage_class_is_told_both_ways_out(host: ControlPlane) -> None:
    with pytest.raises(TenantError) as told:
        await create(host.client(), "demo", "any", document={})
    assert "volumeClaim.storageClass=NAME" in str(told.value)
    assert "volumeClaim.enabled=false" in str(told.value)
    found = await host.client().list(NAMESPACES)
    assert "any" not in [each["metadata"]["name"] for each in found["items"]]


async def test_a_default_class_marked_the_old_way_counts(host: ControlPlane) -> None:
    annotations = {"storageclass.beta.kubernetes.io/is-default-class": "true"}
    await host.client().create(
        resource("storageclasses.storage.k8s.io"),
        {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.com/none",
            "metadata": {"name": "old", "annotations": annotations},
        },
    )  # fmt: skip
    with pytest.raises(TenantError, match="is not ready after"):
        await create(host.client(), "demo", "any", timeout=0.5, document={})


async def team_member(host: ControlPlane, where: str) -> Client:
    """Someone who administers one namespace and may do nothing else."""
    await namespace(host, where)
    await host.client().create(
        resource("rolebindings.rbac.authorization.k8s.io"),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "team", "namespace": where},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dev"}],
        },
    )  # fmt: skip
    return host.client(TEAM)


async def test_rights_in_one_namespace_are_enough_to_create_find_and_delete(host: ControlPlane) -> None:
    client = await team_member(host, "sublet-demo")
    with pytest.raises(TenantError, match="is not ready after"):
        await create(client, "demo", "sublet-demo", timeout=0.5)
    tenants = Tenants(client)
    with pytest.raises(Forbidden):
        await tenants.list()
    assert (await tenants.find("demo")).namespace == "sublet-demo"
    await tenants.delete("demo", "sublet-demo", timeout=10)
    left = await host.client().list(resource("serviceaccounts"), "sublet-demo")
    assert [each["metadata"]["name"] for each in left["items"]] == ["default"]


async def test_rights_elsewhere_say_that_the_namespace_must_be_given(host: ControlPlane) -> None:
    client = await team_member(host, "team")
    with pytest.raises(TenantError, match="must be said with --namespace"):
        await Tenants(client).find("demo")
    with pytest.raises(TenantError, match="couldn't find tenant demo in namespace team"):
        await Tenants(client).find("demo", "team")


async def test_a_namespace_that_may_not_be_made_is_named(host: ControlPlane) -> None:
    client = await team_member(host, "team")
    with pytest.raises((TenantError, Forbidden), match="other"):
        await create(client, "demo", "other", timeout=0.5)
