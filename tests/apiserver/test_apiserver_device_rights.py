"""Which part of a claim's status may be written by whom, besides the right to write the status at all."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.device_rights import bound_node, changed_drivers
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

CLAIMS = resource("resourceclaims.resource.k8s.io")
DRIVER = "system:serviceaccount:drivers:gpu"


def on(node: str, **extra: Any) -> Object:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}], **extra}]
    return {"nodeSelector": {"nodeSelectorTerms": terms}}


def device(driver: str, **extra: Any) -> Object:
    return {"driver": driver, "pool": "p", "device": "x", **extra}


def driver_on(api: APIServer, *nodes: str) -> Client:
    extra = {"authentication.kubernetes.io/node-name": nodes} if nodes else {}
    return api.client_as(User(DRIVER, ("system:authenticated",), "", extra), "driver/1.0")


async def grant(client: Client, *rules: tuple[str, str, str]) -> None:
    """(verb, what below claims, name or ``""``) to everybody known, besides writing the status."""
    everything = [("update", "status", ""), ("patch", "status", ""), *rules]
    role = {
        "metadata": {"name": "r"},
        "rules": [
            {
                "apiGroups": ["resource.k8s.io"],
                "resources": [f"resourceclaims/{below}"],
                "verbs": [verb],
                **({"resourceNames": [name]} if name else {}),
            }
            for verb, below, name in everything
        ],
    }
    await client.create(resource("clusterroles.rbac.authorization.k8s.io"), role)
    binding = {
        "metadata": {"name": "r"},
        "subjects": [
            {"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"}
        ],
        "roleRef": {"kind": "ClusterRole", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
    }
    await client.create(resource("clusterrolebindings.rbac.authorization.k8s.io"), binding)


async def allocated(client: Client, node: str = "n1") -> Object:
    """A claim that has a device of each of two drivers, on a node."""
    requests = [{"name": "r", "exactly": {"deviceClassName": "c"}}]
    spec = {"devices": {"requests": requests}}
    await client.create(CLAIMS, {"metadata": {"name": "a", "namespace": "default"}, "spec": spec})
    results = [{"request": "r", **device(driver)} for driver in ("d1", "d2")]
    status = {"status": {"allocation": {**on(node), "devices": {"results": results}}}}
    return await client.patch(CLAIMS, "a", status, "default", kind="merge", subresource="status")


async def report(client: Client, *drivers: str) -> Object:
    status = {"status": {"devices": [device(driver) for driver in drivers]}}
    return await client.patch(CLAIMS, "a", status, "default", kind="merge", subresource="status")


async def test_who_may_only_write_the_status_neither_reserves_nor_reports(
    api: APIServer, client: Client
) -> None:
    await grant(client)
    await allocated(client)
    somebody = api.client_as(User("jane", ("system:authenticated",)), "x")
    users = [{"resource": "pods", "name": "p", "uid": "u"}]
    changed = {"reservedFor": users, "devices": [device("d2"), device("d1")]}
    with pytest.raises(StatusError) as refused:
        await somebody.patch(CLAIMS, "a", {"status": changed}, "default", kind="merge", subresource="status")
    causes = [(cause.field, cause.message) for cause in refused.value.causes]
    told = 'User "jane" cannot {} resource "resourceclaims/{}" in API group "resource.k8s.io" {}'
    driver = told.format("arbitrary-node:patch", "driver", 'in the namespace "default"')
    requires = 'Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:patch]"'
    assert causes == [
        (
            "status",
            'Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", '
            'verb="patch" permission: resourceclaims.resource.k8s.io is forbidden: '
            + told.format("patch", "binding", "at the cluster scope"),
        ),
        *(
            (
                "status.devices",
                f'{requires} permission: resourceclaims.resource.k8s.io "{n}" is forbidden: {driver}',
            )
            for n in ("d1", "d2")
        ),
    ]


async def test_a_driver_beside_the_devices_needs_the_right_for_its_own_node_only(
    api: APIServer, client: Client
) -> None:
    await grant(client, ("associated-node:patch", "driver", "d1"))
    await allocated(client)
    for elsewhere in (driver_on(api), driver_on(api, "n2"), driver_on(api, "n1", "n2")):
        with pytest.raises(StatusError, match=r'verb="\[arbitrary-node:patch\]"'):
            await report(elsewhere, "d1")
    with pytest.raises(
        StatusError, match=r'verb="\[associated-node:patch arbitrary-node:patch\]".* cannot associated'
    ):
        await report(driver_on(api, "n1"), "d1", "d2")
    assert (await report(driver_on(api, "n1"), "d1"))["status"]["devices"] == [device("d1")]
    same = await report(driver_on(api, "n2"), "d1")
    assert same["status"]["devices"] == [device("d1")], "who changes nothing is not asked"


async def test_a_right_for_any_node_suffices_anywhere_and_is_asked_for_by_the_verb_of_the_request(
    api: APIServer, client: Client
) -> None:
    await grant(client, ("arbitrary-node:update", "driver", ""))
    claim = await allocated(client)
    claim["status"]["devices"] = [device("d1")]
    assert await driver_on(api, "n1").update(CLAIMS, claim, subresource="status")
    with pytest.raises(StatusError, match="arbitrary-node:patch"):
        await report(driver_on(api), "d2")


def test_the_drivers_that_changed_are_those_of_devices_new_gone_or_otherwise() -> None:
    def status(*devices: Object) -> Object:
        return {"devices": list(devices)}

    a, b, c = (device(name) for name in "abc")
    for new, old, changed in (
        ((a, b), (a, b), []),
        ((a, b), (b, a), []),
        ((a, b), (a,), ["b"]),
        ((a,), (a, b), ["b"]),
        ((device("a", networkData={"interfaceName": "e"}), b), (a, c), ["a", "b", "c"]),
        ((a, device("a", shareID="s")), (a,), ["a"]),
        ((), (), []),
    ):
        assert changed_drivers(status(*new), status(*old)) == changed


def test_an_allocation_is_bound_to_a_node_only_by_that_nodes_name() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n"]}
    for terms, node in (
        ([{"matchFields": [field]}], "n"),
        ([{"matchFields": [field]}, {"matchFields": [field]}], ""),
        ([{"matchFields": [field, field]}], ""),
        ([{"matchFields": [field], "matchExpressions": [{"key": "k", "operator": "Exists"}]}], ""),
        ([{"matchFields": [{**field, "values": ["n", "m"]}]}], ""),
        ([{"matchFields": [{**field, "operator": "NotIn"}]}], ""),
        ([{"matchFields": [{**field, "key": "metadata.namespace"}]}], ""),
        ([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n"]}]}], ""),
        ([], ""),
    ):
        assert bound_node({"nodeSelector": {"nodeSelectorTerms": terms}}) == node
    assert bound_node(None) == bound_node({}) == ""
