"""Who may do what: RBAC, escalation, the Node authorizer, the bootstrap roles and the reviews."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_front import BOB, RBAC, Front, front
from hypothesis import given
from hypothesis import strategies as st

from sublet.apiserver.authorization.bootstrap import objects as bootstrap_objects
from sublet.apiserver.authorization.bootstrap import reconcile
from sublet.apiserver.authorization.node import readable, references
from sublet.apiserver.authorization.rules import CompiledRule, compact, uncovered
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User

__all__ = ["front"]

NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))
PODS = "/api/v1/namespaces/default/pods"


def rule(verbs: str, groups: str, resources: str, names: str = "") -> dict[str, Any]:
    found = {
        "verbs": verbs.split(),
        "apiGroups": [g.strip("-") for g in groups.split()],
        "resources": resources.split(),
    }
    return {**found, "resourceNames": names.split()} if names else found


def info(verb: str, group: str, resource: str, subresource: str = "", name: str = "") -> RequestInfo:
    return RequestInfo(verb, "", True, group, "v1", "ns", resource, subresource, name)


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        (rule("get", "-", "pods"), info("get", "", "pods"), True),
        (rule("get", "-", "pods"), info("list", "", "pods"), False),
        (rule("get", "-", "pods"), info("get", "apps", "pods"), False),
        (rule("get", "-", "pods"), info("get", "", "pods", "log"), False),
        (rule("get", "-", "pods/log"), info("get", "", "pods", "log"), True),
        (rule("get", "-", "pods/log"), info("get", "", "pods"), False),
        (rule("*", "*", "*"), info("deletecollection", "x.io", "foos", "status"), True),
        (rule("update", "apps", "*/scale"), info("update", "apps", "deployments", "scale"), True),
        (rule("update", "apps", "*/scale"), info("update", "apps", "deployments"), False),
        (rule("get", "-", "secrets", "a b"), info("get", "", "secrets", name="a"), True),
        (rule("get", "-", "secrets", "a b"), info("get", "", "secrets", name="c"), False),
        (rule("list", "-", "secrets", "a"), info("list", "", "secrets"), False),
    ],
)
def test_rules_match_as_documented(held: dict[str, Any], asked: RequestInfo, allowed: bool) -> None:
    assert CompiledRule(held).allows(asked) is allowed


@pytest.mark.parametrize(
    ("url", "path", "allowed"),
    [
        ("/healthz", "/healthz", True),
        ("/healthz", "/healthz/etcd", False),
        ("/apis/*", "/apis/apps", True),
        ("*", "/x", True),
    ],
)
def test_paths_match_exactly_or_by_trailing_star(url: str, path: str, allowed: bool) -> None:
    assert (
        CompiledRule({"verbs": ["get"], "nonResourceURLs": [url]}).allows(RequestInfo("get", path)) is allowed
    )


words = st.lists(st.sampled_from(["get", "list", "pods", "secrets", "apps", "", "*"]), min_size=1, max_size=3)
rules = st.fixed_dictionaries({"verbs": words, "apiGroups": words, "resources": words})


@given(st.lists(rules, max_size=3))
def test_everyone_covers_what_they_hold(held: list[dict[str, Any]]) -> None:
    assert uncovered(held, held) == []


@given(st.lists(rules, max_size=3), st.lists(rules, max_size=3))
def test_what_is_covered_is_allowed(held: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """If no atom is uncovered, every concrete request that the wanted rules allow is allowed by the held ones."""
    if uncovered(held, wanted):
        return
    for verb in ("get", "list"):
        for group in ("", "apps"):
            for resource in ("pods", "secrets"):
                asked = info(verb, group, resource)
                if any(CompiledRule(w).allows(asked) for w in wanted):
                    assert any(CompiledRule(h).allows(asked) for h in held)


def test_missing_rules_are_written_as_upstream_writes_them() -> None:
    missing = uncovered([], [
        rule("list get", "apps", "deployments"),
        rule("get", "-", "pods", "a b"),
        rule("watch", "apps", "deployments"),
        {"verbs": ["get", "put"], "nonResourceURLs": ["/x"]},
    ])  # fmt: skip
    assert compact(missing) == [
        '{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}',
        '{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}',
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["list" "get" "watch"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
        '{NonResourceURLs:["/x"], Verbs:["put"]}',
    ]


# -- through the API --


async def test_a_refusal_says_who_cannot_do_what_where(front: Front) -> None:
    answer = await front.ask("GET", f"{PODS}/web", user=BOB)
    assert answer.status == 403
    assert answer.message == (
        'pods "web" is forbidden: User "bob" cannot get resource "pods" in API group "" in the namespace "default"'
    )
    assert answer.json["details"] == {"name": "web", "kind": "pods"}
    answer = await front.ask("GET", "/api/v1/nodes", user=BOB)
    assert answer.message.endswith('cannot list resource "nodes" in API group "" at the cluster scope')
    answer = await front.ask("GET", "/metrics", user=BOB)
    assert answer.message == 'forbidden: User "bob" cannot get path "/metrics"'


async def test_a_role_binding_grants_in_its_namespace_only_and_at_once(front: Front) -> None:
    await front.bind("view", user="bob", namespace="default")
    assert (await front.ask("GET", PODS, user=BOB)).status == 200
    assert (await front.ask("GET", "/api/v1/namespaces/kube-system/pods", user=BOB)).status == 403
    assert (await front.ask("GET", "/api/v1/namespaces/default/secrets", user=BOB)).status == 403


async def test_a_cluster_role_binding_of_a_group_grants_everywhere(front: Front) -> None:
    await front.bind("view", group="developers")
    assert (await front.ask("GET", "/api/v1/namespaces/kube-system/pods", user=BOB)).status == 200


async def test_taking_a_binding_away_takes_the_right_away(front: Front) -> None:
    await front.bind("view", user="bob", namespace="default")
    assert (await front.ask("GET", PODS, user=BOB)).status == 200
    await front.ask("DELETE", f"{RBAC}/namespaces/default/rolebindings")
    await front.api.caches.fresh()
    assert (await front.ask("GET", PODS, user=BOB)).status == 403


async def test_a_binding_of_a_role_that_is_not_there_says_so(front: Front) -> None:
    await front.bind("gone", user="bob", namespace="default")
    answer = await front.ask("GET", PODS, user=BOB)
    assert answer.message.endswith('RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found')


async def test_exec_by_get_needs_create_as_exec_by_post_does(front: Front) -> None:
    role = {"metadata": {"name": "peek"}, "rules": [rule("get", "-", "pods/exec")]}
    await front.create(f"{RBAC}/clusterroles", role)
    await front.bind("peek", user="bob", namespace="default")
    answer = await front.ask("GET", f"{PODS}/web/exec?command=sh", user=BOB)
    assert 'cannot create resource "pods/exec"' in answer.message


async def test_a_role_that_is_not_there_is_named_as_a_resource_to_who_binds_it(front: Front) -> None:
    writes = rule("create", "rbac.authorization.k8s.io", "roles rolebindings")
    await front.create(f"{RBAC}/clusterroles", {"metadata": {"name": "writer"}, "rules": [writes]})
    await front.bind("writer", user="bob", namespace="default")
    path = f"{RBAC}/namespaces/default"
    for kind, named in (("Role", "roles"), ("ClusterRole", "clusterroles")):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "gone"}
        body = {"metadata": {"name": "up"}, "roleRef": reference}
        answer = await front.ask("POST", f"{path}/rolebindings", body, user=BOB)
        assert (answer.status, answer.message) == (404, f'{named}.rbac.authorization.k8s.io "gone" not found')
    await front.bind("gone", user="bob", namespace="default")
    much = {"metadata": {"name": "much"}, "rules": [rule("get", "-", "pods")]}
    answer = await front.ask("POST", f"{path}/roles", much, user=BOB)
    told = 'Verbs:["get"]}; resolution errors: [clusterroles.rbac.authorization.k8s.io "gone" not found]'
    assert answer.message.endswith(told)


async def test_nobody_grants_what_they_do_not_hold(front: Front) -> None:
    await front.create(f"{RBAC}/clusterroles", {
        "metadata": {"name": "role-writer"},
        "rules": [rule("*", "rbac.authorization.k8s.io", "roles rolebindings"), rule("get", "-", "pods")],
    })  # fmt: skip
    await front.bind("role-writer", user="bob", namespace="default")
    path = f"{RBAC}/namespaces/default/roles"
    grantable = {"metadata": {"name": "ok"}, "rules": [rule("get", "-", "pods")]}
    await front.create(path, grantable, user=BOB)
    # Verbs "*" on roles hold escalate and bind too, so a narrower writer is needed to be refused.
    narrow = {"metadata": {"name": "narrow"}, "rules": [
        rule("create update patch", "rbac.authorization.k8s.io", "roles rolebindings"), rule("get", "-", "pods"),
    ]}  # fmt: skip
    await front.create(f"{RBAC}/clusterroles", narrow)
    await front.bind("narrow", user="eve", namespace="default")
    eve = User("eve", ("system:authenticated",))
    too_much = {"metadata": {"name": "much"}, "rules": [rule("get delete", "-", "pods secrets")]}
    answer = await front.ask("POST", path, too_much, user=eve)
    assert answer.status == 403
    assert (
        'user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:'
        in answer.message
    )
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}' in answer.message
    binding = {
        "metadata": {"name": "up"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    }
    answer = await front.ask("POST", f"{RBAC}/namespaces/default/rolebindings", binding, user=eve)
    assert answer.status == 403


async def test_an_aggregation_rule_needs_every_right(front: Front) -> None:
    narrow = {"metadata": {"name": "narrow"}, "rules": [
        rule("create update patch", "rbac.authorization.k8s.io", "clusterroles"),
    ]}  # fmt: skip
    await front.create(f"{RBAC}/clusterroles", narrow)
    await front.bind("narrow", user="eve")
    eve = User("eve", ("system:authenticated",))
    body = {
        "metadata": {"name": "sum"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    }
    answer = await front.ask("POST", f"{RBAC}/clusterroles", body, user=eve)
    assert (answer.status, answer.message) == (
        403,
        'clusterroles.rbac.authorization.k8s.io "sum" is forbidden: '
        "must have cluster-admin privileges to use the aggregationRule",
    )


async def test_who_may_not_grant_a_role_may_not_change_its_labels_either(front: Front) -> None:
    narrow = {"metadata": {"name": "narrow"}, "rules": [
        rule("create update patch", "rbac.authorization.k8s.io", "clusterroles"),
    ]}  # fmt: skip
    await front.create(f"{RBAC}/clusterroles", narrow)
    await front.bind("narrow", user="eve")
    eve = User("eve", ("system:authenticated",))
    merge = {"content-type": "application/merge-patch+json"}
    path = f"{RBAC}/clusterroles/view"
    answer = await front.ask("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, user=eve, headers=merge)
    assert answer.status == 403
    gone = {"metadata": {"finalizers": ["example.com/x"]}}
    assert (await front.ask("PATCH", path, gone, user=eve, headers=merge)).status == 200
    as_it_is = (await front.ask("GET", path)).json
    assert (await front.ask("PUT", path, as_it_is, user=eve)).status == 200, (
        "what changes nothing grants nothing"
    )


# -- refusals --


async def test_names_in_refusals_are_quoted_and_harmless(front: Front) -> None:
    evil = User('<b>"eve"', ("system:authenticated",))
    answer = await front.ask("GET", "/api/v1/pods", user=evil)
    assert answer.message == (
        'pods is forbidden: User "&lt;b&gt;\\"eve\\"" cannot list resource "pods" in API group "" at the cluster scope'
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer = await front.ask("GET", "/x&y", user=evil)
    assert answer.json["details"] == {}
    assert answer.message.endswith('cannot get path "/x&amp;y"')


# -- bootstrap --


async def test_bootstrap_roles_are_there_and_reconciling_again_writes_nothing(front: Front) -> None:
    listed = (await front.ask("GET", f"{RBAC}/clusterroles")).json["items"]
    names = {item["metadata"]["name"] for item in listed}
    assert {"cluster-admin", "admin", "edit", "view", "system:node", "system:discovery"} <= names
    assert await reconcile(front.api.client) == 0


async def test_reconciling_gives_back_what_was_taken_and_keeps_what_was_added(front: Front) -> None:
    path = f"{RBAC}/clusterroles/system:public-info-viewer"
    role = (await front.ask("GET", path)).json
    role["rules"] = [{"nonResourceURLs": ["/mine"], "verbs": ["get"]}]
    assert (await front.ask("PUT", path, role)).status == 200
    assert await reconcile(front.api.client) == 1
    urls = {url for r in (await front.ask("GET", path)).json["rules"] for url in r["nonResourceURLs"]}
    assert {"/mine", "/version", "/readyz"} <= urls


async def test_reconciling_keeps_labels_and_selectors_and_takes_an_aggregation_away(front: Front) -> None:
    view, nodes = f"{RBAC}/clusterroles/view", f"{RBAC}/clusterroles/system:kube-dns"
    role = (await front.ask("GET", view)).json
    role["metadata"]["labels"] = {"kubernetes.io/bootstrapping": "mine"}
    role["aggregationRule"]["clusterRoleSelectors"] = [{"matchLabels": {"a": "b"}}]
    assert (await front.ask("PUT", view, role)).status == 200
    dns = (await front.ask("GET", nodes)).json
    dns |= {"rules": [], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    assert (await front.ask("PUT", nodes, dns)).status == 200
    assert await reconcile(front.api.client) == 2
    found = (await front.ask("GET", view)).json
    assert found["metadata"]["labels"] == {
        "kubernetes.io/bootstrapping": "mine", "rbac.authorization.k8s.io/aggregate-to-edit": "true",
    }  # fmt: skip
    labels = [each["matchLabels"] for each in found["aggregationRule"]["clusterRoleSelectors"]]
    assert labels == [{"a": "b"}, {"rbac.authorization.k8s.io/aggregate-to-view": "true"}]
    found = (await front.ask("GET", nodes)).json
    assert "aggregationRule" not in found and not found["rules"], "its rules come with the next round"
    assert await reconcile(front.api.client) == 1
    assert (await front.ask("GET", nodes)).json["rules"]


async def test_reconciling_leaves_alone_what_does_not_want_it(front: Front) -> None:
    path = f"{RBAC}/clusterroles/view"
    role = (await front.ask("GET", path)).json
    role["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
    role["metadata"]["labels"] = {}
    await front.ask("PUT", path, role)
    assert await reconcile(front.api.client) == 0


def test_aggregating_roles_hold_what_the_controller_would_give_them() -> None:
    roles = {o["metadata"]["name"]: o for o in bootstrap_objects() if o["kind"] == "ClusterRole"}
    assert uncovered(roles["admin"]["rules"], roles["edit"]["rules"]) == []
    assert uncovered(roles["edit"]["rules"], roles["view"]["rules"]) == []
    assert uncovered(roles["view"]["rules"], [rule("get", "-", "secrets")]) != []


async def test_bootstrap_roles_and_bindings_that_were_deleted_are_made_again(front: Front) -> None:
    await front.ask("DELETE", f"{RBAC}/clusterroles")
    await front.ask("DELETE", f"{RBAC}/clusterrolebindings")
    assert await reconcile(front.api.client) > 100
    assert await reconcile(front.api.client) == 0


# -- nodes --


def pod(name: str, node: str = "", **spec: Any) -> dict[str, Any]:
    found = {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "robot", **spec}
    return {"metadata": {"name": name}, "spec": {**found, **({"nodeName": node} if node else {})}}


@pytest.fixture
async def cluster(front: Front) -> Front:
    """A pod on n1 that uses a Secret, and one on n2."""
    await front.account()
    for name in ("used", "other"):
        await front.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": name}})
    volumes = [{"name": "v", "secret": {"secretName": "used"}}]
    await front.create(PODS, pod("mine", "n1", volumes=volumes))
    await front.create(PODS, pod("theirs", "n2"))
    return front


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/namespaces/default/secrets/used", True),
        ("GET", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dused", True),
        ("GET", "/api/v1/namespaces/default/secrets/other", False),
        ("GET", "/api/v1/namespaces/default/secrets", False),
        ("DELETE", "/api/v1/namespaces/default/secrets/used", False),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", True),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", False),
        ("GET", "/api/v1/pods", False),
        ("GET", f"{PODS}/mine", True),
        ("GET", f"{PODS}/theirs", False),
        ("GET", "/api/v1/services", True),
        ("GET", "/api/v1/namespaces", False),
    ],
)  # fmt: skip
async def test_a_node_reads_what_its_pods_refer_to(
    cluster: Front, method: str, path: str, allowed: bool
) -> None:
    answer = await cluster.ask(method, path, user=NODE)
    assert (answer.status == 200) is allowed, answer.body
    if not allowed:
        assert answer.status == 403


@pytest.mark.parametrize(
    ("method", "path", "why"),
    [
        ("GET", "/api/v1/namespaces/default/secrets/other", "no relationship found between node 'n1' and this object"),
        ("GET", "/api/v1/namespaces/default/secrets", "No Object name found"),
        ("GET", "/api/v1/secrets?fieldSelector=metadata.name%3Dused", "can only read namespaced object of this type"),
        ("DELETE", "/api/v1/namespaces/default/secrets/used", "can only read resources of this type"),
        ("GET", "/api/v1/persistentvolumes", "can only get individual resources of this type"),
        ("GET", "/api/v1/pods", "can only list/watch pods with spec.nodeName field selector"),
        ("GET", "/api/v1/nodes", "node 'n1' cannot read all nodes, only its own Node object"),
        ("GET", "/api/v1/nodes/n2", "node 'n1' cannot read 'n2', only its own Node object"),
        (
            "GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1",
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        ("GET", "/apis/storage.k8s.io/v1/csinodes", "can only get, create, update, patch, or delete a CSINode"),
        ("GET", "/apis/storage.k8s.io/v1/volumeattachments/va2", "no relationship found between node 'n1'"),
        ("GET", "/api/v1/namespaces/default/serviceaccounts", "can only create tokens for individual service accounts"),
    ],
)  # fmt: skip
async def test_a_node_is_told_why_not(cluster: Front, method: str, path: str, why: str) -> None:
    answer = await cluster.ask(method, path, user=NODE)
    assert answer.status == 403
    assert why in answer.message


async def test_a_node_reads_the_attachments_of_its_own_volumes(cluster: Front) -> None:
    path = "/apis/storage.k8s.io/v1/volumeattachments"
    for name, node in (("va1", "n1"), ("va2", "n2")):
        spec = {"attacher": "a", "nodeName": node, "source": {"persistentVolumeName": "pv"}}
        await cluster.create(path, {"metadata": {"name": name}, "spec": spec})
    assert (await cluster.ask("GET", f"{path}/va1", user=NODE)).status == 200
    assert (await cluster.ask("GET", f"{path}/va2", user=NODE)).status == 403


async def test_a_node_gets_tokens_for_its_own_pods_only(cluster: Front) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts/robot/token"
    for name, code in (("mine", 201), ("theirs", 403)):
        pod = (await cluster.ask("GET", f"/api/v1/namespaces/default/pods/{name}")).json
        reference = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]}
        spec = {"boundObjectRef": reference}
        assert (await cluster.ask("POST", path, {"spec": spec}, user=NODE)).status == code
    assert (await cluster.ask("POST", path, {"spec": {}}, user=NODE)).status == 403


async def test_a_nodes_right_ends_with_the_pod(cluster: Front) -> None:
    assert (await cluster.ask("GET", "/api/v1/namespaces/default/secrets/used", user=NODE)).status == 200
    await cluster.ask("DELETE", f"{PODS}/mine?gracePeriodSeconds=0")
    await cluster.api.caches.fresh()
    assert (await cluster.ask("GET", "/api/v1/namespaces/default/secrets/used", user=NODE)).status == 403


def test_references_of_a_pod_are_found_wherever_they_stand() -> None:
    found = set(references({
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {
            "serviceAccountName": "sa",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "cm1"}}]}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}}]}],
            "volumes": [
                {"name": "a", "projected": {"sources": [{"secret": {"name": "s2"}}, {"configMap": {"name": "cm2"}}]}},
                {"name": "b", "persistentVolumeClaim": {"claimName": "pvc"}},
                {"name": "c", "ephemeral": {}},
            ],
        },
    }))  # fmt: skip
    assert found >= {
        ("serviceaccounts", "ns", "sa"), ("secrets", "ns", "pull"), ("configmaps", "ns", "cm1"),
        ("secrets", "ns", "s1"), ("secrets", "ns", "s2"), ("configmaps", "ns", "cm2"),
        ("persistentvolumeclaims", "ns", "pvc"),
    }  # fmt: skip


def test_claims_of_a_pod_are_those_it_names_and_those_made_for_it_and_a_mirror_opens_nothing() -> None:
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {"resourceClaims": [{"name": "a", "resourceClaimName": "named"}], "serviceAccountName": "sa"},
        "status": {
            "resourceClaimStatuses": [{"name": "b", "resourceClaimName": "made"}, {"name": "c"}],
            "extendedResourceClaimStatus": {"resourceClaimName": "extended", "requestMappings": []},
        },
    }
    claims = {name for resource, _, name in readable(pod) if resource == "resourceclaims"}
    assert claims == {"named", "made", "extended"}
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert list(readable(pod)) == []
    assert list(references(pod)), "what is asked of a mirror pod itself still sees them"


async def test_the_mirror_of_a_nodes_own_pod_opens_nothing_to_it(cluster: Front) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    await cluster.create(path, {"metadata": {"name": "wanted"}})
    mirror = pod("mirror", "n1", volumes=[{"name": "a", "configMap": {"name": "wanted"}}])
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    mirror["spec"].pop("serviceAccountName", None)
    await cluster.create(PODS, mirror)
    assert (await cluster.ask("GET", f"{path}/wanted", user=NODE)).status == 403
    plain = pod("plain", "n1", volumes=[{"name": "a", "configMap": {"name": "wanted"}}])
    await cluster.create(PODS, plain)
    assert (await cluster.ask("GET", f"{path}/wanted", user=NODE)).status == 200


async def test_a_node_reads_the_accounts_of_its_own_pods_to_pull_their_images(cluster: Front) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts"
    await cluster.create(path, {"metadata": {"name": "unused"}})
    assert (await cluster.ask("GET", f"{path}/robot", user=NODE)).status == 200
    refused = await cluster.ask("GET", f"{path}/unused", user=NODE)
    assert (
        refused.status == 403 and "no relationship found between node 'n1' and this object" in refused.message
    )


async def test_a_node_reads_the_secrets_of_the_volumes_its_pods_claim(cluster: Front) -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    sources = {
        "csi": {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "stage", "namespace": "default"},
                "controllerPublishSecretRef": {"name": "controllers", "namespace": "default"}},
        "azureFile": {"shareName": "s", "secretName": "share"},
        "iscsi": {"targetPortal": "1.2.3.4", "iqn": "iqn.2001-04.com.example:a", "lun": 0,
                  "secretRef": {"name": "chap", "namespace": "default"}},
        "flexVolume": {"driver": "a/b", "secretRef": {"name": "stranger", "namespace": "default"}},
    }  # fmt: skip
    holders = {"flexVolume": "another"}
    volumes = []
    for name, source in sources.items():
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        holder = {"namespace": "default", "name": holders.get(name, name.lower())}
        volume = {
            "metadata": {"name": f"pv-{name.lower()}"}, "spec": {**spec, name: source, "claimRef": holder}
        }  # fmt: skip
        await cluster.create("/api/v1/persistentvolumes", volume)
        claim = {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": f"pv-{name.lower()}",
            "resources": {"requests": {"storage": "1Gi"}},
        }  # fmt: skip
        claims = "/api/v1/namespaces/default/persistentvolumeclaims"
        await cluster.create(claims, {"metadata": {"name": name.lower()}, "spec": claim})
        volumes.append({"name": name.lower(), "persistentVolumeClaim": {"claimName": name.lower()}})
    names = ("stage", "share", "chap", "controllers", "stranger")
    for name in names:
        await cluster.create(secrets, {"metadata": {"name": name}})
    await cluster.create(PODS, pod("claims", "n1", volumes=volumes))
    codes = {name: (await cluster.ask("GET", f"{secrets}/{name}", user=NODE)).status for name in names}
    # A claim that names a volume of another is not heard: the volume says whose it is.
    assert codes == {"stage": 200, "share": 200, "chap": 200, "controllers": 403, "stranger": 403}
    read = {
        name: (await cluster.ask("GET", f"/api/v1/persistentvolumes/pv-{name}", user=NODE)).status
        for name in ("csi", "flexvolume")
    }
    assert read == {"csi": 200, "flexvolume": 403}


# -- reviews --

REVIEWS = "/apis/authorization.k8s.io/v1"


async def test_access_reviews_answer_with_the_reason(front: Front) -> None:
    await front.bind("view", user="bob", namespace="default")
    attributes = {"verb": "list", "resource": "pods", "namespace": "default"}
    spec = {"user": "bob", "resourceAttributes": attributes}
    status = (await front.create(f"{REVIEWS}/subjectaccessreviews", {"spec": spec}))["status"]
    assert status["allowed"]
    assert 'of ClusterRole "view" to User "bob"' in status["reason"]
    assert status["reason"].startswith('RBAC: allowed by RoleBinding "b-')
    own = await front.create(
        f"{REVIEWS}/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": {**attributes, "verb": "delete"}}},
        user=BOB,
    )
    assert own["status"] == {"allowed": False}


async def test_a_local_review_is_about_its_own_namespace(front: Front) -> None:
    spec = {
        "user": "bob",
        "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "kube-system"},
    }
    answer = await front.ask(
        "POST", f"{REVIEWS}/namespaces/default/localsubjectaccessreviews", {"spec": spec}
    )
    assert answer.status == 422


@pytest.mark.parametrize("spec", [{}, {"user": "bob"}, {"resourceAttributes": {"verb": "get"}}])
async def test_incomplete_reviews_are_invalid(front: Front, spec: dict[str, Any]) -> None:
    assert (await front.ask("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": spec})).status == 422


async def test_selectors_in_reviews_are_checked_and_count(cluster: Front) -> None:
    asked = {"verb": "list", "resource": "pods"}

    async def review(selector: Any) -> Any:
        spec = {
            "user": NODE.name,
            "groups": ["system:nodes"],
            "resourceAttributes": {**asked, "fieldSelector": selector},
        }
        return await cluster.ask("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": spec})

    own = {"key": "spec.nodeName", "operator": "In", "values": ["n1"]}
    assert (await review({"requirements": [own]})).json["status"]["allowed"]
    assert (await review({"rawSelector": "spec.nodeName=n1"})).json["status"]["allowed"]
    forged = {**own, "values": ["n2,spec.nodeName=n1"]}
    refused = (await review({"requirements": [forged]})).json["status"]
    assert refused == {
        "allowed": False,
        "reason": "can only list/watch pods with spec.nodeName field selector",
    }
    for selector, text in (
        ({}, "fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified"),
        ({"rawSelector": "a=b", "requirements": [own]}, "may not specified at the same time as requirements"),
        ({"requirements": [{**own, "values": []}]}, "requirements[0].values: Required value: must be specified when"),
        ({"requirements": [{"operator": "Exists"}]}, "requirements[0].key: Required value: must be specified"),
    ):  # fmt: skip
        answer = await review(selector)
        assert answer.status == 422
        assert text in answer.message


@pytest.mark.parametrize(
    ("selectors", "error"),
    [
        ({"fieldSelector": {"rawSelector": "key in value"}}, "spec.resourceAttributes.fieldSelector ignored due to parse error"),
        ({"labelSelector": {"rawSelector": "&"}, "fieldSelector": {"rawSelector": "x"}},
         "spec.resourceAttributes.fieldSelector ignored due to parse error; "
         "spec.resourceAttributes.labelSelector ignored due to parse error"),
        ({"labelSelector": {"requirements": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Near"}]}},
         "spec.resourceAttributes.labelSelector partially ignored due to parse error"),
        ({"fieldSelector": {"requirements": [{"key": "a", "operator": "Exists"}]}},
         "spec.resourceAttributes.fieldSelector ignored due to parse error"),
        ({"labelSelector": {"rawSelector": "a in (b,c)"}}, None),
    ],
)  # fmt: skip
async def test_a_review_says_which_selectors_it_could_not_tell(
    front: Front, selectors: dict[str, Any], error: str | None
) -> None:
    asked = {"verb": "list", "resource": "pods", **selectors}
    spec = {"user": "bob", "resourceAttributes": asked}
    review = await front.create(f"{REVIEWS}/subjectaccessreviews", {"spec": spec})
    assert review["status"].get("evaluationError") == error


async def test_reviews_have_no_metadata(front: Front) -> None:
    spec = {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    body = {"metadata": {"name": "mine"}, "spec": spec}
    answer = await front.ask("POST", f"{REVIEWS}/subjectaccessreviews", body)
    assert answer.status == 422
    assert answer.message.startswith('.authorization.k8s.io "" is invalid: metadata: Invalid value')
    assert "must be empty" in answer.message
    body["metadata"] = {
        "uid": "u",
        "selfLink": "/l",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "namespace": "default",
    }
    review = await front.create(f"{REVIEWS}/subjectaccessreviews", body)
    (managed,) = review["metadata"].pop("managedFields")
    assert review["metadata"] == {}  # what nobody can state is passed over
    assert managed["fieldsV1"]["f:spec"]["f:user"] == {} and managed["operation"] == "Update"
    local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    answer = await front.ask("POST", local, {"metadata": {"namespace": "other"}, "spec": spec})
    assert answer.status == 400
    assert "the namespace of the provided object does not match" in answer.message


async def test_a_master_sees_every_rule_that_its_bindings_give(front: Front) -> None:
    review = await front.create(f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})
    status = review["status"]
    assert review["spec"] == {}
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in status["resourceRules"]
    assert any("selfsubjectreviews" in r["resources"] for r in status["resourceRules"])
    assert any("/openapi/*" in r["nonResourceURLs"] for r in status["nonResourceRules"])


async def test_a_nodes_rules_are_not_to_be_listed(front: Front) -> None:
    review = await front.create(
        f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}, user=NODE
    )
    assert review["status"]["incomplete"] is True
    assert review["status"]["evaluationError"] == "node authorizer does not support user rule resolution"


async def test_a_rules_review_lists_what_a_user_holds(front: Front) -> None:
    await front.bind("view", user="bob", namespace="default")
    review = await front.create(
        f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}, user=BOB
    )
    status = review["status"]
    assert any("pods" in r["resources"] and "list" in r["verbs"] for r in status["resourceRules"])
    assert any("/version" in r["nonResourceURLs"] for r in status["nonResourceRules"])
    assert status["incomplete"] is False


async def test_label_selectors_in_reviews_are_checked_as_labels(front: Front) -> None:
    requirements = [{"key": "-", "operator": "odd"}, {"key": "a", "operator": "In", "values": ["b c"]}]
    attributes = {"verb": "list", "resource": "pods", "labelSelector": {"requirements": requirements}}
    spec = {"user": "bob", "resourceAttributes": attributes}
    answer = await front.ask("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": spec})
    assert answer.status == 422
    assert "requirements[0].key: Invalid value" in answer.message
    assert "requirements[1].values[0]: Invalid value" in answer.message
    assert "operator" not in answer.message
