from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sublet.apiserver.admission import order
from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, NotFound, StatusError

PODS, NODES, CLAIMS, MAPS = (
    resource("pods"), resource("nodes"), resource("persistentvolumeclaims"), resource("configmaps"),
)  # fmt: skip
QUOTAS, LIMITS, CLASSES = (
    resource("resourcequotas"),
    resource("limitranges"),
    resource("storageclasses.storage.k8s.io"),
)
PRIORITIES = resource("priorityclasses.scheduling.k8s.io")
MAKE = Callable[..., Object]
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_a_plugin_that_is_not_there_cannot_be_disabled() -> None:
    with pytest.raises(ValueError, match='disable-admission-plugins plugin "Nonsense" is unknown'):
        order.load(["Nonsense"])


async def test_a_disabled_plugin_does_not_run() -> None:
    assert "Priority" not in [plugin.name for plugin in order.load(["Priority"])]


async def test_a_pod_gets_account_token_priority_and_tolerations(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    made = await client.create(PODS, make_pod())
    spec = made["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"]["sources"][0] == {
        "serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}
    }
    mount = {"name": volume["name"], "readOnly": True, "mountPath": TOKEN_PATH}
    assert spec["containers"][0]["volumeMounts"] == [mount]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert [t["tolerationSeconds"] for t in spec["tolerations"]] == [300, 300]


async def test_no_token_where_it_is_not_wanted(client: Client, default_account: None, make_pod: MAKE) -> None:
    made = await client.create(PODS, make_pod(automountServiceAccountToken=False))
    assert "volumes" not in made["spec"]


async def test_a_missing_account_is_named(client: Client, make_pod: MAKE) -> None:
    with pytest.raises(
        Forbidden, match=r'error looking up service account default/ghost: serviceaccount "ghost" not found'
    ):
        await client.create(PODS, make_pod(serviceAccountName="ghost"))


async def test_the_default_account_is_waited_for(client: Client, make_pod: MAKE) -> None:
    creating = asyncio.create_task(client.create(PODS, make_pod()))
    await asyncio.sleep(0.1)
    await client.create(
        resource("serviceaccounts"), {"metadata": {"name": "default", "namespace": "default"}}
    )
    assert (await creating)["spec"]["serviceAccountName"] == "default"


async def test_priority_comes_from_the_class(client: Client, default_account: None, make_pod: MAKE) -> None:
    await client.create(PRIORITIES, {"metadata": {"name": "high"}, "value": 1000})
    made = await client.create(PODS, make_pod(priorityClassName="high"))
    assert made["spec"]["priority"] == 1000
    with pytest.raises(Forbidden, match=r"no PriorityClass with name none was found"):
        await client.create(PODS, make_pod("other", priorityClassName="none"))


async def test_there_is_one_default_priority(client: Client) -> None:
    await client.create(PRIORITIES, {"metadata": {"name": "one"}, "value": 1, "globalDefault": True})
    with pytest.raises(Forbidden, match=r"PriorityClass one is already marked as default"):
        await client.create(PRIORITIES, {"metadata": {"name": "two"}, "value": 2, "globalDefault": True})


async def test_a_new_node_is_tainted(client: Client) -> None:
    made = await client.create(NODES, {"metadata": {"name": "n"}})
    assert {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"} in made["spec"]["taints"]


def claim(size: str = "1Gi", **spec: object) -> Object:
    return {
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


async def test_a_claim_gets_the_default_class_and_a_finalizer(client: Client) -> None:
    marked = {"storageclass.kubernetes.io/is-default-class": "true"}
    await client.create(
        CLASSES, {"metadata": {"name": "local", "annotations": marked}, "provisioner": "x.y/z"}
    )
    made = await client.create(CLAIMS, claim())
    assert made["spec"]["storageClassName"] == "local"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]


async def test_a_limit_range_fills_and_bounds(client: Client, default_account: None, make_pod: MAKE) -> None:
    item = {
        "type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
        "min": {"cpu": "50m"}, "max": {"cpu": "1"},
    }  # fmt: skip
    await client.create(
        LIMITS, {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [item]}}
    )
    made = await client.create(PODS, make_pod())
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "500m"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"].startswith(
        "LimitRanger plugin set: cpu "
    )
    big = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "2"}}}
    with pytest.raises(
        Forbidden, match=r"minimum cpu usage per Container is 50m, but request is 10m"
    ) as refused:
        await client.create(PODS, make_pod("big", containers=[big]))
    assert "maximum cpu usage per Container is 1, but limit is 2" in refused.value.message


async def quota(client: Client, **hard: str) -> None:
    named = {key.replace("_", "."): value for key, value in hard.items()}
    await client.create(QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": named}})


async def test_a_quota_counts_objects(client: Client, make_config_map: MAKE) -> None:
    await quota(client, configmaps="2")
    await client.create(MAPS, make_config_map("a"))
    await client.create(MAPS, make_config_map("b"))
    with pytest.raises(Forbidden) as refused:
        await client.create(MAPS, make_config_map("c"))
    assert refused.value.message == (
        'configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2'
    )
    assert (await client.get(QUOTAS, "q", "default"))["status"]["used"] == {"configmaps": "2"}


async def test_what_is_deleted_is_free_again(client: Client, make_config_map: MAKE) -> None:
    await quota(client, configmaps="1")
    await client.create(MAPS, make_config_map("a"))
    await client.delete(MAPS, "a", "default")
    await client.create(MAPS, make_config_map("b"))


async def test_concurrent_creations_do_not_exceed_a_quota(client: Client, make_config_map: MAKE) -> None:
    await quota(client, configmaps="3")
    made = await asyncio.gather(
        *(client.create(MAPS, make_config_map(f"m{i}")) for i in range(12)), return_exceptions=True
    )
    assert len((await client.list(MAPS, "default"))["items"]) == 3
    assert sum(isinstance(each, StatusError) for each in made) == 9


async def test_a_dry_run_uses_no_quota(client: Client, make_config_map: MAKE) -> None:
    await quota(client, configmaps="1")
    await client.create(MAPS, make_config_map("a"), dry_run=True)
    await client.create(MAPS, make_config_map("a"))


async def test_a_quota_on_cpu_needs_requests(client: Client, default_account: None, make_pod: MAKE) -> None:
    await quota(client, requests_cpu="1")
    with pytest.raises(Forbidden, match=r"failed quota: q: must specify requests.cpu for: main"):
        await client.create(PODS, make_pod())
    small = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]
    await client.create(PODS, make_pod("one", containers=small))
    with pytest.raises(
        Forbidden, match=r"requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    ):
        await client.create(PODS, make_pod("two", containers=small))


def agent(api: APIServer, name: str = "n1") -> Client:
    return api.client_as(User(f"system:node:{name}", ("system:nodes", "system:authenticated")), "kubelet")


async def test_a_node_agent_registers_its_own_node_alone(api: APIServer) -> None:
    await agent(api).create(NODES, {"metadata": {"name": "n1"}})
    with pytest.raises(Forbidden, match=r'node "n1" is not allowed to modify node "n2"'):
        await agent(api).create(NODES, {"metadata": {"name": "n2"}})


async def test_a_node_agent_sets_no_reserved_label(api: APIServer) -> None:
    labels = {"node-restriction.kubernetes.io/team": "a"}
    with pytest.raises(Forbidden, match=r"is not allowed to set the following labels: node-restriction"):
        await agent(api).create(NODES, {"metadata": {"name": "n1", "labels": labels}})


async def test_a_node_agent_changes_the_status_of_its_own_pods_alone(
    api: APIServer, client: Client, default_account: None, make_pod: MAKE
) -> None:
    for node in ("n1", "n2"):
        await client.create(NODES, {"metadata": {"name": node}})
        await client.create(PODS, make_pod(f"on-{node}", nodeName=node))
    patch = {"status": {"phase": "Running"}}
    changed = await agent(api).patch(PODS, "on-n1", patch, "default", kind="strategic", subresource="status")
    assert changed["status"]["phase"] == "Running"
    with pytest.raises(Forbidden):
        await agent(api).patch(PODS, "on-n2", patch, "default", kind="strategic", subresource="status")


async def test_nobody_grants_what_they_do_not_hold(api: APIServer, client: Client) -> None:
    roles, group = resource("clusterroles.rbac.authorization.k8s.io"), "rbac.authorization.k8s.io"
    rule = {"verbs": ["create", "get"], "apiGroups": [group], "resources": ["clusterroles"]}
    await client.create(roles, {"metadata": {"name": "roler"}, "rules": [rule]})
    subject = {"kind": "User", "name": "rolf", "apiGroup": group}
    reference = {"kind": "ClusterRole", "name": "roler", "apiGroup": group}
    await client.create(
        resource("clusterrolebindings.rbac.authorization.k8s.io"),
        {"metadata": {"name": "roler"}, "roleRef": reference, "subjects": [subject]},
    )
    rolf = api.client_as(User("rolf", ("system:authenticated",)), "t")
    await rolf.create(roles, {"metadata": {"name": "same"}, "rules": [rule]})
    more = {"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"]}
    with pytest.raises(Forbidden, match=r"is attempting to grant RBAC permissions not currently held"):
        await rolf.create(roles, {"metadata": {"name": "more"}, "rules": [more]})


async def test_events_in_a_missing_namespace_are_not_found(client: Client, make_config_map: MAKE) -> None:
    with pytest.raises(NotFound):
        await client.create(MAPS, make_config_map(namespace="ghost"))
