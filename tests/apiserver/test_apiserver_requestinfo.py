"""Requests are taken apart as upstream takes them apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.apiserver.requestinfo import parse
from sublet.client.exchange import Request


@pytest.mark.parametrize(
    ("method", "target", "verb", "group", "version", "namespace", "resource", "subresource", "name"),
    [
        ("GET", "/api/v1/namespaces/other/pods", "list", "", "v1", "other", "pods", "", ""),
        ("GET", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
        ("HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
        ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
        ("HEAD", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
        ("GET", "/api/v1/pods?watch=true", "watch", "", "v1", "", "pods", "", ""),
        ("GET", "/api/v1/pods?watch=1", "watch", "", "v1", "", "pods", "", ""),
        ("GET", "/api/v1/pods?watch=false", "list", "", "v1", "", "pods", "", ""),
        ("GET", "/api/v1/watch/pods", "watch", "", "v1", "", "pods", "", ""),
        ("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch", "", "v1", "other", "pods", "", "foo"),
        ("GET", "/api/v1/namespaces/other", "get", "", "v1", "other", "namespaces", "", "other"),
        ("PUT", "/api/v1/namespaces/other/finalize", "update", "", "v1", "other", "namespaces", "finalize", "other"),
        ("PUT", "/api/v1/namespaces/other/status", "update", "", "v1", "other", "namespaces", "status", "other"),
        ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
        ("POST", "/apis/apps/v1/namespaces/other/deployments", "create", "apps", "v1", "other", "deployments", "", ""),
        ("PATCH", "/apis/apps/v1/namespaces/o/deployments/d/scale", "patch", "apps", "v1", "o", "deployments", "scale", "d"),
        ("DELETE", "/api/v1/nodes/n", "delete", "", "v1", "", "nodes", "", "n"),
        ("DELETE", "/api/v1/namespaces/o/pods", "deletecollection", "", "v1", "o", "pods", "", ""),
        ("DELETE", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "deletecollection", "", "v1", "", "pods", "", ""),
        ("GET", "/api/v1/namespaces/o/pods/p/proxy/a/b", "get", "", "v1", "o", "pods", "proxy", "p"),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "list", "", "v1", "", "pods", "", "foo"),
        ("GET", "/api/v1/pods/", "list", "", "v1", "", "pods", "", ""),
    ],
)  # fmt: skip
def test_resource_requests(
    method: str, target: str, verb: str, group: str, version: str, namespace: str, resource: str,
    subresource: str, name: str,
) -> None:  # fmt: skip
    path, _, query = target.partition("?")
    info = parse(Request(method, path, query))
    assert info.is_resource
    assert (
        info.verb, info.api_group, info.api_version, info.namespace, info.resource, info.subresource, info.name
    ) == (verb, group, version, namespace, resource, subresource, name)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        "/api/v1",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/healthz",
        "/openapi/v3/api/v1",
    ],
)
def test_what_names_no_resource_is_a_non_resource_request(path: str) -> None:
    info = parse(Request("GET", path))
    assert not info.is_resource
    assert (info.verb, info.path) == ("get", path)


def test_selectors_are_read_for_collections_only() -> None:
    query = "labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn"
    listed = parse(Request("GET", "/api/v1/pods", query))
    assert (listed.label_selector, listed.field_selector, listed.name) == ("a=b", "spec.nodeName=n", "")
    assert parse(Request("GET", "/api/v1/nodes/x", query)).label_selector == ""


def test_a_field_selector_cannot_smuggle_a_path_into_the_name() -> None:
    assert parse(Request("GET", "/api/v1/pods", "fieldSelector=metadata.name%3D..")).name == ""
    assert parse(Request("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Da%2Fb")).name == ""


@given(st.sampled_from(["GET", "POST", "TRACE", "DELETE"]), st.text(max_size=40), st.text(max_size=20))
def test_parsing_never_fails(method: str, path: str, query: str) -> None:
    info = parse(Request(method, "/" + path, query))
    assert info.parts
