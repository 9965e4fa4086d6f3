"""Who owns what after writes through the main endpoint, /status and others; what each endpoint leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.apiserver.api import APIServer
from sublet.apiserver.writing import scope
from sublet.client.client import Client
from sublet.client.exchange import Request, User
from sublet.kinds import catalog
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, Invalid

PODS, SETS, DEPLOYMENTS = resource("pods"), resource("daemonsets.apps"), resource("deployments.apps")
REQUESTS = resource("certificatesigningrequests.certificates.k8s.io")


def owned(obj: Object, manager: str, subresource: str = "") -> Any:
    return next(
        (
            entry["fieldsV1"]
            for entry in obj["metadata"].get("managedFields", [])
            if entry["manager"] == manager and entry.get("subresource", "") == subresource
        ),
        None,
    )


def daemon_set(**container: Any) -> Object:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", **container}]},
    }
    return {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }  # fmt: skip


def deployment(**metadata: Any) -> Object:
    made = daemon_set()
    return made | {"kind": "Deployment", "metadata": made["metadata"] | metadata}


async def apply(
    client: Client, obj: Object, manager: str, subresource: str = "", force: bool = False
) -> Object:
    kind = next(r for r in (PODS, SETS, DEPLOYMENTS, REQUESTS) if r.kind == obj["kind"])
    return await client.patch(
        kind, obj["metadata"]["name"], obj, obj["metadata"].get("namespace", ""), kind="apply", field_manager=manager,
        subresource=subresource, force=force,
    )  # fmt: skip


async def test_a_set_tells_how_often_its_template_changed_whatever_a_client_says(client: Client) -> None:
    noted = "deprecated.daemonset.template.generation"
    made = await client.create(SETS, daemon_set())
    assert made["metadata"]["annotations"] == {noted: "1"}
    assert owned(made, "tester")["f:metadata"]["f:annotations"] == {".": {}, f"f:{noted}": {}}
    again = await client.update(SETS, daemon_set(args=["x"]))
    assert again["metadata"]["annotations"] == {noted: "2"}
    patched = await client.patch(SETS, "d", {"metadata": {"annotations": {noted: "7"}}}, "default")
    assert patched["metadata"]["annotations"] == {noted: "2"}


async def test_fields_are_written_in_the_order_of_their_names_and_items_in_that_of_their_keys(
    client: Client,
) -> None:
    ports = [{"containerPort": 443}, {"containerPort": 80}, {"containerPort": 8080}]
    made = await apply(client, daemon_set(ports=ports), "m")
    fields = owned(made, "m")["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert list(fields) == [".", "f:image", "f:name", "f:ports"]
    assert [json.loads(key[2:])["containerPort"] for key in fields["f:ports"]] == [80, 443, 8080]


async def test_repeated_ports_and_variables_survive_an_apply_beside_them(client: Client) -> None:
    env = [{"name": "PATH", "value": "/bin"}, {"name": "PATH", "value": "$PATH:/usr/bin"}]
    await client.create(SETS, daemon_set(env=env))
    beside = await apply(client, daemon_set(env=[{"name": "HOME", "value": "/"}]), "m")
    (container,) = beside["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [*env, {"name": "HOME", "value": "/"}]
    instead = await apply(client, daemon_set(env=[{"name": "PATH", "value": "/opt"}]), "m", force=True)
    (container,) = instead["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "PATH", "value": "/opt"}]


@pytest.mark.usefixtures("default_account")
async def test_a_pods_status_endpoint_lets_its_labels_through_but_not_its_owners(
    client: Client, make_pod: Callable[..., Object]
) -> None:
    await client.create(PODS, make_pod())
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}
    wanted = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"b": "two"}, "ownerReferences": [owner]},
        "status": {"phase": "Running"},
    }  # fmt: skip
    after = await apply(client, wanted, "reporter", "status", force=True)
    assert after["metadata"]["labels"] == {"app": "web", "b": "two"} and after["status"]["phase"] == "Running"
    assert "ownerReferences" not in after["metadata"]
    assert owned(after, "reporter", "status") == {
        "f:metadata": {"f:labels": {"f:b": {}}},
        "f:status": {"f:phase": {}},
    }


async def test_what_an_endpoint_leaves_alone_conflicts_with_nobody(client: Client) -> None:
    await apply(client, deployment(labels={"a": "1"}), "one")
    other = deployment(labels={"a": "2"}) | {"status": {"replicas": 5}}
    after = await apply(client, other, "two", "status")
    assert after["metadata"]["labels"] == {"a": "1"} and after["status"]["replicas"] == 5
    assert owned(after, "two", "status") == {"f:status": {"f:replicas": {}}}


async def test_labels_given_to_a_deployments_status_endpoint_are_not_owned(client: Client) -> None:
    made = await client.create(DEPLOYMENTS, deployment(labels={"a": "1"}))
    made["metadata"]["labels"] = {"a": "2"}
    made["metadata"]["annotations"] = {"told": "by status"}
    after = await client.update_status(DEPLOYMENTS, made)
    assert after["metadata"]["labels"] == {"a": "1"}
    assert after["metadata"]["annotations"] == {"told": "by status"}
    assert owned(after, "tester", "status") == {"f:metadata": {"f:annotations": {".": {}, "f:told": {}}}}


async def test_what_a_request_leaves_out_is_owned_no_more_though_the_server_keeps_it(client: Client) -> None:
    made = await client.create(
        resource("services"),
        {
            "metadata": {"name": "s", "namespace": "default"},
            "spec": {"clusterIP": "10.0.0.77", "ports": [{"port": 80}]},
        },
    )
    assert "f:clusterIP" in owned(made, "tester")["f:spec"]
    again = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    after = await client.update(resource("services"), again)
    assert after["spec"]["clusterIP"] == "10.0.0.77"
    assert "f:clusterIP" not in owned(after, "tester")["f:spec"]


@pytest.mark.parametrize(
    ("plural", "endpoint", "fields", "left"),
    [
        ("certificatesigningrequests", "", {"f:spec": {}, "f:status": {}}, {}),
        ("certificatesigningrequests", "approval", {"f:status": {"f:certificate": {}, "f:conditions": {}}},
         {"f:status": {"f:conditions": {}}}),
        ("namespaces", "finalize", {"f:spec": {}, "f:status": {}}, {"f:spec": {}}),
        ("pods", "ephemeralcontainers", {"f:spec": {"f:ephemeralContainers": {}, "f:hostname": {}}, "f:metadata": {}},
         {"f:spec": {"f:ephemeralContainers": {}}}),
        ("pods", "resize",
         {"f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:resources": {"f:limits": {}}, "f:image": {}}}}},
         {"f:spec": {"f:containers": {'k:{"name":"a"}': {"f:resources": {"f:limits": {}}}}}}),
        ("nodes", "status", {"f:metadata": {"f:labels": {}}, "f:spec": {}, "f:status": {}},
         {"f:metadata": {"f:labels": {}}, "f:status": {}}),
        ("volumeattachments", "status", {"f:metadata": {"f:labels": {}}, "f:spec": {}, "f:status": {}}, {"f:status": {}}),
        ("events", "", {"f:reason": {}}, {"f:reason": {}}),
    ],
)  # fmt: skip
def test_each_endpoint_has_what_can_be_owned_through_it(
    plural: str, endpoint: str, fields: Any, left: Any
) -> None:
    kind = next(kind for (_, name), kind in catalog.everything().items() if name == plural)
    assert scope(kind, kind.resource.version, endpoint).of(fields) == left


METADATA_BY_STATUS = {
    "certificatesigningrequests", "cronjobs", "customresourcedefinitions", "daemonsets", "horizontalpodautoscalers",
    "ingresses", "jobs", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "poddisruptionbudgets",
    "pods", "replicasets", "replicationcontrollers", "resourcequotas", "services", "statefulsets",
}  # fmt: skip


def test_only_old_kinds_let_labels_through_their_status_endpoint() -> None:
    found = set()
    for kind in catalog.everything().values():
        label = {"f:metadata": {"f:labels": {"f:a": {}}}}
        if "status" in kind.subresources and scope(kind, kind.resource.version, "status").of(label):
            found.add(kind.resource.plural)
    assert found == METADATA_BY_STATUS


async def test_a_put_or_an_apply_that_creates_needs_the_verb_create_too(
    api: APIServer, client: Client
) -> None:
    group = "rbac.authorization.k8s.io"
    rule = {
        "verbs": ["patch", "update"],
        "apiGroups": ["", "coordination.k8s.io"],
        "resources": ["configmaps", "leases"],
    }
    await client.create(resource("clusterroles." + group), {"metadata": {"name": "changer"}, "rules": [rule]})
    await client.create(
        resource("rolebindings." + group),
        {
            "metadata": {"name": "changer", "namespace": "default"},
            "subjects": [{"kind": "User", "name": "panda", "apiGroup": group}],
            "roleRef": {"kind": "ClusterRole", "name": "changer", "apiGroup": group},
        },
    )
    panda = api.client_as(User("panda", ("system:authenticated",)), "panda/1")
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}
    maps, leases = resource("configmaps"), resource("leases.coordination.k8s.io")
    with pytest.raises(Forbidden) as caught:
        await panda.patch(maps, "a", wanted, "default", kind="apply", field_manager="m")
    assert caught.value.message == (
        'configmaps "a" is forbidden: User "panda" cannot create resource "configmaps" in API group "" in the '
        'namespace "default"'
    )
    with pytest.raises(Forbidden, match='cannot create resource "leases"'):
        await panda.update(leases, {"metadata": {"name": "l", "namespace": "default"}})
    await client.create(maps, wanted)
    await panda.patch(maps, "a", wanted, "default", kind="apply", field_manager="m")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"apiVersion": ""}, "apiVersion must not be empty"),
        ({"operation": "invalid operation"}, "operation must be `Apply` or `Update`"),
        ({"fieldsType": ""}, "missing fieldsType in managed fields entry 0"),
        ({"fieldsType": "other"}, 'invalid fieldsType "other" in managed fields entry 0'),
        ({"fieldsV1": {"x:y": {}}}, "error decoding versioned set from managed fields entry 0"),
        ({"manager": ""}, ""),
    ],
)
async def test_owners_that_admission_makes_unreadable_are_put_back(
    api: APIServer, client: Client, changed: Object, why: str
) -> None:
    async def mutate(attributes: Attributes, _context: Context) -> None:
        metadata = attributes.new()["metadata"]
        metadata["managedFields"] = [entry | changed for entry in metadata["managedFields"]]
        attributes.mutated = True

    made = await client.create(SETS, daemon_set())
    admission = api.registry.admission
    assert admission is not None
    admission.plugins = (*admission.plugins, Plugin("Outdated", on("daemonsets.apps"), admit=mutate))
    body = json.dumps(daemon_set()).encode()
    path = "/apis/apps/v1/namespaces/default/daemonsets/d"
    answer = await client.transport.request(Request("PUT", path, "", {"user-agent": "tester/1"}, body))
    warned = [value for name, value in answer.headers if name == "Warning"]
    assert isinstance(answer.body, bytes)
    (entry,) = json.loads(answer.body)["metadata"]["managedFields"]
    if why:
        assert (entry, len(warned)) == (made["metadata"]["managedFields"][0], 1)
        assert why.replace('"', '\\"') in warned[0] and "invalid state after admission" in warned[0]
    else:
        assert (entry.get("manager", ""), warned) == ("", [])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"manager": "m" * 129}, "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes"),
        (
            {"manager": "a\x01"},
            'metadata.managedFields[0].manager: Invalid value: "a\\u0001": invalid character U+0001 (at position 1)',
        ),
        (
            {"subresource": "s" * 257},
            "metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes",
        ),
    ],
)  # fmt: skip
async def test_a_client_that_sets_the_list_gives_names_that_are_no_longer_than_its_own_may_be(
    client: Client, change: Object, found: str
) -> None:
    made = await client.create(DEPLOYMENTS, deployment())
    made["metadata"]["managedFields"][0] |= change
    with pytest.raises(Invalid) as refused:
        await client.update(DEPLOYMENTS, made)
    assert refused.value.message == f'Deployment.apps "d" is invalid: {found}'


async def test_an_entry_of_a_version_that_is_not_there_is_forgotten_but_is_no_wish_for_none(
    client: Client,
) -> None:
    made = await client.create(DEPLOYMENTS, deployment())
    made["metadata"]["managedFields"] = [{**made["metadata"]["managedFields"][0], "apiVersion": "apps/v9"}]
    made["spec"]["replicas"] = 3
    changed = await client.update(DEPLOYMENTS, made)
    assert [each["apiVersion"] for each in changed["metadata"]["managedFields"]] == ["apps/v1"]
    assert owned(changed, "tester") == {"f:spec": {"f:replicas": {}}}
