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
        ("exec", ["command", "container", "name", "namespace", "pretty", "stderr", "stdin", "stdout", "tty"]),
        ("portforward", ["name", "namespace", "ports", "pretty"]),
        ("proxy", ["name", "namespace", "path", "pretty"]),
    ],
)
def test_streams_tell_their_query(document, path, names):
    assert [each["name"] for each in document["paths"][f"{PODS}/{{name}}/{path}"]["parameters"]] == names


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
