"""What clients that make their calls of the document find in it: paths, identities and actions as upstream has them."""

from __future__ import annotations

import asyncio

import pytest

from sublet.apiserver.kindset import KindSet
from sublet.apiserver.openapi import OpenAPI
from sublet.kinds import catalog
from sublet.machinery import codec

PODS = "/api/v1/namespaces/{namespace}/pods"


@pytest.fixture(scope="module")
def document():
    return codec.decode_json(
        asyncio.run(OpenAPI(KindSet(catalog.load("1.36").values()), "1.36", "1").version2()).bytes()
    )


@pytest.mark.parametrize(
    ("path", "method", "identity", "action", "description"),
    [
        (PODS, "get", "listCoreV1NamespacedPod", "list", "list or watch objects of kind Pod"),
        (PODS, "post", "createCoreV1NamespacedPod", "post", "create a Pod"),
        (PODS, "delete", "deleteCoreV1CollectionNamespacedPod", "deletecollection", "delete collection of Pod"),
        ("/api/v1/pods", "get", "listCoreV1PodForAllNamespaces", "list", "list or watch objects of kind Pod"),
        (f"{PODS}/{{name}}", "get", "readCoreV1NamespacedPod", "get", "read the specified Pod"),
        (f"{PODS}/{{name}}", "put", "replaceCoreV1NamespacedPod", "put", "replace the specified Pod"),
        (f"{PODS}/{{name}}/status", "patch", "patchCoreV1NamespacedPodStatus", "patch", "partially update status of the specified Pod"),
        (f"{PODS}/{{name}}/log", "get", "readCoreV1NamespacedPodLog", "get", "read log of the specified Pod"),
        (f"{PODS}/{{name}}/eviction", "post", "createCoreV1NamespacedPodEviction", "post", "create eviction of a Pod"),
        (f"{PODS}/{{name}}/exec", "post", "connectCoreV1PostNamespacedPodExec", "connect", "connect POST requests to exec of Pod"),
        ("/api/v1/nodes/{name}/proxy", "head", "connectCoreV1HeadNodeProxy", "connect", "connect HEAD requests to proxy of Node"),
        ("/api/v1/nodes/{name}/proxy/{path}", "get", "connectCoreV1GetNodeProxyWithPath", "connect", "connect GET requests to proxy of Node"),
        ("/api/v1/endpoints", "get", "listCoreV1EndpointsForAllNamespaces", "list", "list or watch objects of kind Endpoints"),
        ("/api/v1/namespaces/{namespace}/endpoints", "post", "createCoreV1NamespacedEndpoints", "post", "create Endpoints"),
        ("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses", "post", "createNetworkingV1NamespacedIngress", "post", "create an Ingress"),
    ],
)  # fmt: skip
def test_operations_have_upstreams_identity_action_and_description(
    document, path, method, identity, action, description
):
    found = document["paths"][path][method]
    assert (found["operationId"], found["x-kubernetes-action"]) == (identity, action)
    assert found["description"] == description


@pytest.mark.parametrize(
    ("path", "identity", "action"),
    [
        ("/apis/apps/v1/watch/deployments", "watchAppsV1DeploymentListForAllNamespaces", "watchlist"),
        ("/apis/apps/v1/watch/namespaces/{namespace}/deployments", "watchAppsV1NamespacedDeploymentList", "watchlist"),
        ("/apis/apps/v1/watch/namespaces/{namespace}/deployments/{name}", "watchAppsV1NamespacedDeployment", "watch"),
        ("/api/v1/watch/namespaces", "watchCoreV1NamespaceList", "watchlist"),
        ("/api/v1/watch/namespaces/{name}", "watchCoreV1Namespace", "watch"),
    ],
)  # fmt: skip
def test_the_deprecated_paths_of_watches_are_told(document, path, identity, action):
    item = document["paths"][path]
    assert (item["get"]["operationId"], item["get"]["x-kubernetes-action"]) == (identity, action)
    assert item["get"]["responses"]["200"]["schema"]["$ref"].endswith(".WatchEvent")
    assert "deprecated: use the 'watch' parameter" in item["get"]["description"]
    assert {"labelSelector", "resourceVersion", "watch"} <= {each["name"] for each in item["parameters"]}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("exec", ["command", "container", "name", "namespace", "stderr", "stdin", "stdout", "tty"]),
        ("portforward", ["name", "namespace", "ports"]),
        ("proxy", ["name", "namespace", "path"]),
        ("proxy/{path}", ["name", "namespace", "path", "path"]),
    ],
)
def test_streams_tell_their_query(document, path, names):
    assert [each["name"] for each in document["paths"][f"{PODS}/{{name}}/{path}"]["parameters"]] == names


LIST = [
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "shardSelector", "timeoutSeconds", "watch",
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "shared", "method", "own"),
    [
        ("/api/v1/pods", sorted([*LIST, "pretty"]), "get", []),
        (PODS, ["namespace", "pretty"], "get", LIST),
        (PODS, ["namespace", "pretty"], "post", ["body", "dryRun", "fieldManager", "fieldValidation"]),
        (f"{PODS}/{{name}}", ["name", "namespace", "pretty"], "patch", ["body", "dryRun", "fieldManager", "fieldValidation", "force"]),
        (f"{PODS}/{{name}}", ["name", "namespace", "pretty"], "get", []),
        (f"{PODS}/{{name}}/eviction", ["dryRun", "fieldManager", "fieldValidation", "name", "namespace", "pretty"], "post", ["body"]),
        (
            "/api/v1/nodes", ["pretty"], "delete",
            [
                "body", "continue", "dryRun", "fieldSelector", "gracePeriodSeconds",
                "ignoreStoreReadErrorWithClusterBreakingPotential", "labelSelector", "limit", "orphanDependents",
                "propagationPolicy", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "shardSelector",
                "timeoutSeconds",
            ],
        ),
    ],
)  # fmt: skip
def test_what_all_operations_of_a_path_take_is_told_once(document, path, shared, method, own):
    item = document["paths"][path]
    assert [each["name"] for each in item["parameters"]] == shared
    assert [each["name"] for each in item[method].get("parameters", [])] == own


def test_a_delete_needs_no_body(document):
    item = document["paths"][f"{PODS}/{{name}}"]
    needed = {
        method: item[method]["parameters"][0].get("required", False) for method in ("delete", "put", "patch")
    }
    assert needed == {"delete": False, "put": True, "patch": True}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "Pod"),
        ("/status", "Pod"),
        ("/exec", "PodExecOptions"),
        ("/eviction", "Eviction"),
        ("/binding", "Binding"),
    ],
)
def test_a_name_is_that_of_the_kind_sent(document, path, kind):
    parameters = document["paths"][f"{PODS}/{{name}}{path}"]["parameters"]
    assert next(p for p in parameters if p["name"] == "name")["description"] == f"name of the {kind}"


def test_queries_of_a_delete_are_described_like_the_fields_of_its_body(document):
    options = document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["properties"]
    parameters = document["paths"][f"{PODS}/{{name}}"]["delete"]["parameters"][1:]
    told = {each["name"]: each["description"] for each in parameters}
    assert told == {name: options[name]["description"] for name in told}
    assert all(told.values())


def test_what_cannot_be_watched_is_only_listed(document):
    listing = document["paths"]["/api/v1/componentstatuses"]["get"]
    assert listing["description"] == "list objects of kind ComponentStatus"


def test_queries_of_later_minors_are_not_told():
    entries = KindSet(catalog.load("1.31").values())
    found = codec.decode_json(asyncio.run(OpenAPI(entries, "1.31", "1").version2()).bytes())
    item = found["paths"]["/api/v1/nodes"]
    names = {each["name"] for method in ("get", "delete") for each in item[method]["parameters"]}
    assert not names & {"shardSelector", "ignoreStoreReadErrorWithClusterBreakingPotential"}


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("/api/", "getCoreAPIVersions"),
        ("/api/v1/", "getCoreV1APIResources"),
        ("/apis/", "getAPIVersions"),
        ("/apis/rbac.authorization.k8s.io/", "getRbacAuthorizationAPIGroup"),
        ("/apis/rbac.authorization.k8s.io/v1/", "getRbacAuthorizationV1APIResources"),
        ("/version/", "getCodeVersion"),
        ("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset"),
        ("/.well-known/openid-configuration/", "getServiceAccountIssuerOpenIDConfiguration"),
    ],
)
def test_what_is_no_resource_is_told_too(document, path, identity):
    assert document["paths"][path]["get"]["operationId"] == identity


def test_every_identity_is_told_once_and_every_reference_leads_somewhere(document):
    identities, references = [], set()

    def walk(node):
        if isinstance(node, list):
            for child in node:
                walk(child)
        elif isinstance(node, dict):
            if isinstance(node.get("operationId"), str):
                identities.append(node["operationId"])
            if isinstance(node.get("$ref"), str):
                references.add(node["$ref"].removeprefix("#/definitions/"))
            for child in node.values():
                walk(child)

    walk(document)
    assert len(identities) == len(set(identities)) > 800
    assert references <= set(document["definitions"])
