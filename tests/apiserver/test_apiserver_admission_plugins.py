"""Admission plug-ins one by one: those on by default in their finer points, and those that are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sublet.apiserver.admission import order
from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery import codec, quota
from sublet.machinery.kind import Object
from sublet.machinery.quantity import from_value
from sublet.machinery.status import Forbidden, NotFound, StatusError
from sublet.store.interface import Store

PODS, NODES, MAPS, SERVICES = (
    resource("pods"),
    resource("nodes"),
    resource("configmaps"),
    resource("services"),
)
NAMESPACES, ACCOUNTS, LIMITS = resource("namespaces"), resource("serviceaccounts"), resource("limitranges")
CLAIMS = resource("persistentvolumeclaims")
MAKE = Callable[..., Object]
ADMIN = User("admin", ("system:masters", "system:authenticated"))
RBAC = "rbac.authorization.k8s.io"


@asynccontextmanager
async def server(store: Store, *enabled: str, **settings: Any) -> AsyncIterator[APIServer]:
    made = APIServer(APIServerSettings(enabled_admission=enabled, **settings), store, detect_mutation=True)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def admin(store: Store, *enabled: str, **settings: Any) -> AsyncIterator[Client]:
    async with server(store, *enabled, **settings) as made:
        client = made.client_as(ADMIN, "tester")
        await client.create(ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
        yield client


def refusal(name: str, why: str, plural: str = "pods") -> str:
    return f'{plural} "{name}" is forbidden: {why}'


# -- which there are --


def test_every_name_is_a_plugin_of_that_name() -> None:
    assert [order.plugin(name).name for name in order.ORDER] == list(order.ORDER)


def test_upstreams_defaults_are_on_by_default() -> None:
    default = {
        "CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction", "DefaultIngressClass",
        "DefaultStorageClass", "DefaultTolerationSeconds", "LimitRanger", "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook", "NamespaceLifecycle", "NodeDeclaredFeatureValidator",
        "PersistentVolumeClaimResize", "PodResizeValidator", "PodSecurity",
        "PodTopologyLabels", "Priority", "ResourceQuota", "RuntimeClass", "ServiceAccount",
        "StorageObjectInUseProtection", "TaintNodesByCondition", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionWebhook",
    }  # fmt: skip
    names = {plugin.name for plugin in order.load()}
    assert names - default == {
        "NodeRestriction",
        "CertificateRequester",
        "PolicyParameters",
        "RBACEscalation",
    }
    assert default <= names


def test_upstreams_plugins_without_their_feature_can_be_named_and_do_nothing() -> None:
    names = {plugin.name for plugin in order.load(["PodGroupProtection"], ["JobValidation"])}
    assert not names & order.INERT


@pytest.mark.parametrize(
    ("disabled", "enabled", "message"),
    [
        ([], ["Nope"], 'enable-admission-plugins plugin "Nope" is unknown'),
        (["Nope"], [], 'disable-admission-plugins plugin "Nope" is unknown'),
        ([], ["RBACEscalation"], 'enable-admission-plugins plugin "RBACEscalation" is unknown'),
        (
            ["Priority", "AlwaysDeny"], ["Priority", "AlwaysDeny"],
            "[AlwaysDeny Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
        (
            ["A"], ["B"],
            '[enable-admission-plugins plugin "B" is unknown, disable-admission-plugins plugin "A" is unknown]',
        ),
    ],
)  # fmt: skip
def test_names_that_cannot_be_switched_are_refused_in_upstreams_words(
    disabled: list[str], enabled: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match="admission-plugins") as refused:
        order.load(disabled, enabled)
    assert str(refused.value) == message


# -- on by default --


async def test_a_bound_pod_gets_the_topology_labels_of_its_node(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    zone, region = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
    await client.create(NODES, {"metadata": {"name": "n", "labels": {zone: "a", region: "r", "other": "x"}}})
    await client.create(PODS, make_pod("bound"))
    binding: Object = {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}}
    path = PODS.path("default", "bound") + "/binding"
    assert (await client.raw("POST", path, body=codec.encode_json(binding))).status == 201
    bound = (await client.get(PODS, "bound", "default"))["metadata"]["labels"]
    assert bound == {"app": "bound", zone: "a", region: "r"}
    placed = make_pod("placed", nodeName="n")
    placed["metadata"]["labels"] = {zone: "mine"}
    assert (await client.create(PODS, placed))["metadata"]["labels"] == {zone: "mine", region: "r"}


async def test_before_1_35_pods_get_no_topology_labels(store: Store, make_pod: MAKE) -> None:
    async with admin(store, minor="1.34") as client:
        labels = {"topology.kubernetes.io/zone": "a"}
        await client.create(NODES, {"metadata": {"name": "n", "labels": labels}})
        made = await client.create(PODS, make_pod(nodeName="n"))
        assert made["metadata"]["labels"] == {"app": "web"}


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, 'volume with secret.secretName="s"'),
        ({"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]},
         'container c with envFrom referencing secret.secretName="s"'),
        ({"initContainers": [{"name": "c", "image": "i", "env": [
            {"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]},
         'init container c with envVar E referencing secret.secretName="s"'),
        ({"imagePullSecrets": [{"name": "known"}, {"name": "s"}]}, 'imagePullSecrets[1].name="s"'),
    ],
)  # fmt: skip
async def test_an_account_may_bound_the_secrets_of_its_pods(
    client: Client, make_pod: MAKE, spec: Object, what: str
) -> None:
    account = {
        "metadata": {
            "name": "default", "namespace": "default",
            "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"},
        },
        "secrets": [{"name": "fine"}], "imagePullSecrets": [{"name": "known"}],
    }  # fmt: skip
    await client.create(ACCOUNTS, account)
    fine = [{"name": "v", "secret": {"secretName": "fine"}}]
    await client.create(PODS, make_pod("fine", volumes=fine))
    kind = "imagePullSecret" if "image" in what else "secret"
    with pytest.raises(Forbidden) as refused:
        await client.create(PODS, make_pod(**spec))
    why = f"{what} is not allowed because service account default does not reference that {kind}"
    assert refused.value.message == refusal("web", why)


async def test_limits_of_each_range_are_told_apart(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    for name, most in (("a", "1"), ("b", "2")):
        item = {"type": "Pod", "max": {"cpu": most}, "maxLimitRequestRatio": {"cpu": "2"}}
        spec = {"limits": [item]}
        await client.create(LIMITS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    resources = {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}
    with pytest.raises(Forbidden) as refused:
        await client.create(PODS, make_pod(containers=[{"name": "c", "image": "i", "resources": resources}]))
    assert refused.value.message == refusal(
        "web",
        "[maximum cpu usage per Pod is 1, but limit is 3, cpu max limit to request ratio per Pod is 2, but provided "
        "ratio is 3.000000]",
    )


async def test_a_claim_without_a_request_breaks_a_maximum(client: Client) -> None:
    item = {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}, "min": {"storage": "1Mi"}}
    await client.create(
        LIMITS, {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [item]}}
    )
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    with pytest.raises(Forbidden) as refused:
        await client.create(CLAIMS, {"metadata": {"name": "c", "namespace": "default"}, "spec": spec})
    assert refused.value.message == refusal(
        "c",
        "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi",
        "persistentvolumeclaims",
    )


async def test_defaults_of_a_range_are_noted_containers_first(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    item = {"type": "Container", "default": {"memory": "1Gi", "cpu": "1"}, "defaultRequest": {"cpu": "100m"}}
    await client.create(
        LIMITS, {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [item]}}
    )
    made = await client.create(PODS, make_pod(initContainers=[{"name": "first", "image": "i"}]))
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container main; cpu, memory limit for container main; "
        "cpu, memory request for init container first; cpu, memory limit for init container first"
    )


RUNTIMES = resource("runtimeclasses.node.k8s.io")


async def test_overhead_must_be_that_of_the_runtime_class(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(RUNTIMES, {"metadata": {"name": "plain"}, "handler": "h"})
    heavy = {"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": {"cpu": "1"}}}
    await client.create(RUNTIMES, heavy)
    await client.create(PODS, make_pod("fine", runtimeClassName="heavy", overhead={"cpu": "1000m"}))
    without = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    other = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    for name, why in (("heavy", other), ("plain", without)):
        with pytest.raises(Forbidden) as refused:
            await client.create(PODS, make_pod(runtimeClassName=name, overhead={"cpu": "2"}))
        assert refused.value.message == refusal("web", why)


def test_devices_are_counted_by_their_class() -> None:
    requests = [
        {"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2}},
        {
            "name": "b",
            "firstAvailable": [{"deviceClassName": "gpu"}, {"deviceClassName": "fpga", "count": 3}],
        },
        {"name": "c", "exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
    ]
    used = quota.of_object("resource.k8s.io", "resourceclaims", {"spec": {"devices": {"requests": requests}}})
    devices = ".deviceclass.resource.k8s.io/devices"
    assert used == {
        "count/resourceclaims.resource.k8s.io": from_value(1), f"gpu{devices}": from_value(3),
        f"fpga{devices}": from_value(3), f"nic{devices}": from_value(32),
    }  # fmt: skip
    assert quota.tracked("resource.k8s.io", "resourceclaims", ["pods", f"gpu{devices}"]) == [f"gpu{devices}"]


@pytest.mark.parametrize(
    ("operator", "values", "names", "counted"),
    [
        ("In", ["gold"], ("gold", ""), True), ("In", ["gold"], ("", "gold"), True),
        ("In", ["gold"], ("tin", ""), False), ("NotIn", ["gold"], ("tin", "gold"), False),
        ("Exists", [], ("", ""), False), ("Exists", [], ("", "tin"), True), ("DoesNotExist", [], ("", ""), True),
    ],
)  # fmt: skip
def test_a_scope_of_attribute_classes_sees_what_a_claim_asks_for_and_has(
    operator: str, values: list[str], names: tuple[str, str], counted: bool
) -> None:
    scope = {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values}
    claim = {
        "spec": {"volumeAttributesClassName": names[0]}, "status": {"currentVolumeAttributesClassName": names[1]}
    }  # fmt: skip
    spec = {"spec": {"scopeSelector": {"matchExpressions": [scope]}}}
    assert quota.in_scope(spec, "persistentvolumeclaims", claim) is counted


async def test_resources_of_the_whole_pod_satisfy_a_quota(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    spec = {"hard": {"requests.cpu": "1"}}
    await client.create(
        resource("resourcequotas"), {"metadata": {"name": "q", "namespace": "default"}, "spec": spec}
    )
    await client.create(PODS, make_pod(resources={"requests": {"cpu": "500m"}}))
    (mine,) = [
        entry
        for entry in (await client.get(resource("resourcequotas"), "q", "default"))["metadata"][
            "managedFields"
        ]
        if entry["manager"] == "kube-apiserver"
    ]
    assert mine["subresource"] == "status" and "f:requests.cpu" in mine["fieldsV1"]["f:status"]["f:used"]


# -- on demand --


async def test_always_pull_images(store: Store, make_pod: MAKE) -> None:
    async with admin(store, "AlwaysPullImages") as client:
        volume = {"name": "v", "image": {"reference": "i", "pullPolicy": "IfNotPresent"}}
        container = {"name": "c", "image": "i:1", "imagePullPolicy": "Never"}
        made = await client.create(PODS, make_pod(containers=[container], volumes=[volume]))
        assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"
        assert made["spec"]["volumes"][0]["image"]["pullPolicy"] == "Always"


async def test_deny_service_external_ips(store: Store) -> None:
    async with admin(store, "DenyServiceExternalIPs") as client:
        service: Object = {
            "metadata": {"name": "s", "namespace": "default"},
            "spec": {"ports": [{"port": 80}], "externalIPs": ["1.2.3.4"]},
        }
        with pytest.raises(Forbidden) as refused:
            await client.create(SERVICES, service)
        why = "Use of external IPs is denied by admission control"
        assert refused.value.message == refusal("s", why, "services")
        del service["spec"]["externalIPs"]
        await client.create(SERVICES, service)


async def test_extended_resource_toleration(store: Store, make_pod: MAKE) -> None:
    async with admin(store, "ExtendedResourceToleration") as client:
        limits = {"limits": {"cpu": "1", "example.com/gpu": "1"}}
        made = await client.create(
            PODS, make_pod(containers=[{"name": "c", "image": "i", "resources": limits}])
        )
        found = made["spec"]["tolerations"]
        assert {"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in found
        assert "cpu" not in [t["key"] for t in found]


async def test_limit_pod_hard_anti_affinity_topology(store: Store, make_pod: MAKE) -> None:
    async with admin(store, "LimitPodHardAntiAffinityTopology") as client:
        term = {"labelSelector": {}, "topologyKey": "zone"}
        anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        with pytest.raises(Forbidden) as refused:
            await client.create(PODS, make_pod(affinity=anti))
        assert refused.value.message == refusal(
            "web",
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key "
            "kubernetes.io/hostname is allowed",
        )


async def test_namespace_auto_provision(store: Store, make_config_map: MAKE) -> None:
    async with admin(store, "NamespaceAutoProvision") as client:
        with pytest.raises(NotFound):
            await client.create(MAPS, make_config_map("m", "new"), dry_run=True)
        await client.create(MAPS, make_config_map("m", "new"))
        assert (await client.get(NAMESPACES, "new"))["status"]["phase"] == "Active"


async def test_namespace_exists(store: Store, make_config_map: MAKE) -> None:
    async with admin(store, "NamespaceExists", disabled_admission=["NamespaceLifecycle"]) as client:
        with pytest.raises(NotFound, match='namespaces "new" not found'):
            await client.create(MAPS, make_config_map("m", "new"))


async def test_always_deny(store: Store) -> None:
    # What the server itself must have is made in a store that has it already.
    async with server(store):
        pass
    made = APIServer(APIServerSettings(enabled_admission=["AlwaysDeny"]), store)
    await made.start()
    try:
        client = made.client_as(ADMIN, "tester")
        with pytest.raises(Forbidden) as refused:
            await client.create(NAMESPACES, {"metadata": {"name": "n"}})
        assert refused.value.message == refusal(
            "n", "admission control is denying all modifications", "namespaces"
        )
    finally:
        await made.stop()


async def test_pod_node_selector(store: Store, make_pod: MAKE) -> None:
    async with admin(store, "PodNodeSelector") as client:
        note = {"scheduler.alpha.kubernetes.io/node-selector": "team=a,disk=ssd"}
        await client.patch(NAMESPACES, "default", {"metadata": {"annotations": note}})
        made = await client.create(PODS, make_pod("fine", nodeSelector={"disk": "ssd", "x": "y"}))
        assert made["spec"]["nodeSelector"] == {"team": "a", "disk": "ssd", "x": "y"}
        with pytest.raises(Forbidden) as refused:
            await client.create(PODS, make_pod(nodeSelector={"team": "b"}))
        why = "pod node label selector conflicts with its namespace node label selector"
        assert refused.value.message == refusal("web", why)


async def test_pod_toleration_restriction(store: Store, make_pod: MAKE) -> None:
    async with admin(
        store, "PodTolerationRestriction", disabled_admission=["DefaultTolerationSeconds"]
    ) as client:
        prefix = "scheduler.alpha.kubernetes.io/"
        notes = {
            f"{prefix}defaultTolerations": '[{"key": "team", "operator": "Equal", "value": "a"}]',
            f"{prefix}tolerationsWhitelist": '[{"key": "team", "operator": "Exists"}]',
        }
        await client.patch(NAMESPACES, "default", {"metadata": {"annotations": notes}})
        made = await client.create(PODS, make_pod("fine"))
        assert made["spec"]["tolerations"] == [{"key": "team", "operator": "Equal", "value": "a"}]
        with pytest.raises(StatusError) as refused:
            await client.create(PODS, make_pod(tolerations=[{"operator": "Exists"}]))
        assert (refused.value.code, refused.value.message) == (
            500,
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace "
            "whitelist",
        )


def owned(name: str, **more: Any) -> Object:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u", **more}
    return {"metadata": {"name": name, "namespace": "default", "ownerReferences": [owner]}}


async def test_owner_references_permission_enforcement(store: Store) -> None:
    async with server(store, "OwnerReferencesPermissionEnforcement") as made:
        client = made.client_as(ADMIN, "tester")
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]
        await client.create(resource(f"clusterroles.{RBAC}"), {"metadata": {"name": "maker"}, "rules": rules})
        subject = {"kind": "User", "name": "ann", "apiGroup": RBAC}
        reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "maker"}
        await client.create(
            resource(f"clusterrolebindings.{RBAC}"),
            {"metadata": {"name": "maker"}, "roleRef": reference, "subjects": [subject]},
        )
        ann = made.client_as(User("ann", ("system:authenticated",)), "tester")
        with pytest.raises(Forbidden, match="cannot set an ownerRef on a resource you can't delete: "):
            await ann.create(MAPS, owned("m"))
        role = await client.get(resource(f"clusterroles.{RBAC}"), "maker")
        role["rules"][0]["verbs"] = ["create", "delete"]
        await client.update(resource(f"clusterroles.{RBAC}"), role)
        await ann.create(MAPS, owned("m"))
        text = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "
        with pytest.raises(Forbidden, match=text):
            await ann.create(MAPS, owned("blocks", blockOwnerDeletion=True))
        with pytest.raises(
            Forbidden, match=r"cannot find RESTMapping for APIVersion x\.io/v1 Kind ConfigMap"
        ):
            await ann.create(MAPS, owned("lost", blockOwnerDeletion=True, apiVersion="x.io/v1"))
        await client.create(MAPS, owned("admins", blockOwnerDeletion=True))


# -- node agents --


@pytest.fixture
async def agent(api: APIServer, client: Client) -> Client:
    """The agent of the node ``n1``, which exists."""
    await client.create(NODES, {"metadata": {"name": "n1"}})
    return api.client_as(User("system:node:n1", ("system:nodes", "system:authenticated")), "kubelet")


async def mirror(client: Client, make_pod: MAKE, owner: Object | None = None, **spec: Any) -> Object:
    node = await client.get(NODES, "n1")
    pod = make_pod(**{"nodeName": "n1", **spec})
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    itself = {
        "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    pod["metadata"]["ownerReferences"] = [{**itself, **(owner or {})}]
    return pod


ONLY = 'node "n1" can only create pods with '


@pytest.mark.parametrize(
    ("owner", "spec", "why"),
    [
        ({"name": "n2"}, {}, f"{ONLY}an owner reference set to itself"),
        ({"controller": False}, {}, f"{ONLY}a controller owner reference set to itself"),
        ({"blockOwnerDeletion": True}, {}, 'node "n1" must not set blockOwnerDeletion on an owner reference'),
        ({}, {"nodeName": "n2"}, f"{ONLY}spec.nodeName set to itself"),
        ({}, {"volumes": [{"name": "v", "configMap": {"name": "c"}}]},
         'node "n1" can not create pods that reference configmaps'),
        ({}, {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
         'node "n1" can not create pods that reference persistentvolumeclaims'),
        ({}, {"resourceClaims": [{"name": "c", "resourceClaimName": "c"}]},
         'node "n1" can not create pods that reference resourceclaims'),
    ],
)  # fmt: skip
async def test_a_mirror_pod_is_owned_by_its_node_and_uses_nothing(
    client: Client, agent: Client, make_pod: MAKE, owner: Object, spec: Object, why: str
) -> None:
    await agent.create(PODS, await mirror(client, make_pod))
    await client.delete(PODS, "web", "default", grace=0)
    with pytest.raises(Forbidden) as refused:
        await agent.create(PODS, await mirror(client, make_pod, owner, **spec))
    assert refused.value.message == refusal("web", why)


async def test_an_agent_of_another_machine_of_that_name_makes_no_mirror_pods(
    client: Client, agent: Client, make_pod: MAKE
) -> None:
    uid = (await client.get(NODES, "n1"))["metadata"]["uid"]
    with pytest.raises(Forbidden) as refused:
        await agent.create(PODS, await mirror(client, make_pod, {"uid": "other"}))
    assert refused.value.message == refusal("web", f"node n1 UID mismatch: expected other got {uid}")


async def test_an_agent_changes_none_of_the_systems_labels(client: Client, agent: Client) -> None:
    label = "node-restriction.kubernetes.io/team"
    with pytest.raises(Forbidden) as refused:
        await agent.patch(NODES, "n1", {"metadata": {"labels": {label: "a"}}})
    assert refused.value.message == refusal("n1", f"is not allowed to modify labels: {label}", "nodes")


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"taints": [{"key": "a", "effect": "NoSchedule"}]}, "modify taints"),
        ({"configSource": {"configMap": {"name": "c", "namespace": "default", "kubeletConfigKey": "k"}}},
         "update configSource to a new non-nil configSource"),
    ],
)  # fmt: skip
async def test_an_agent_neither_taints_its_node_nor_says_whence_it_is_configured(
    client: Client, agent: Client, spec: Object, what: str
) -> None:
    node = await client.get(NODES, "n1")
    with pytest.raises(Forbidden) as refused:
        await agent.update(NODES, {**node, "spec": {**(node.get("spec") or {}), **spec}})
    assert refused.value.message == refusal("n1", f'node "n1" is not allowed to {what}', "nodes")


async def test_an_agent_touches_only_the_status_of_pods_on_its_node(
    client: Client, agent: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod("theirs", nodeName="n2"))
    with pytest.raises(Forbidden):
        await agent.patch(PODS, "theirs", {"status": {"message": "x"}}, "default", subresource="status")
    await client.create(PODS, make_pod("mine", nodeName="n1"))
    await agent.patch(PODS, "mine", {"status": {"message": "x"}}, "default", subresource="status")
    made = {"status": {"extendedResourceClaimStatus": {"resourceClaimName": "x"}}}
    with pytest.raises(Forbidden, match='node "n1" cannot update extended resource claim status'):
        await agent.patch(PODS, "mine", made, "default", subresource="status")
    claims = {"status": {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "x"}]}}
    with pytest.raises(Forbidden, match='node "n1" cannot update resource claim statues'):
        await agent.patch(PODS, "mine", claims, "default", subresource="status")
