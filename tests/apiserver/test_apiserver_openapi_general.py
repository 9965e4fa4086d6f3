"""Documents of version 3 about what is no resource: discovery, the version, the issuer of tokens."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_front import Front, front

from sublet.apiserver.handlers.openapi import PROTOBUF3
from sublet.apiserver.kindset import KindSet
from sublet.apiserver.openapi import OpenAPI
from sublet.apiserver.openapi_merge import references
from sublet.kinds import catalog
from sublet.machinery import codec

__all__ = ["front"]

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
ANY = {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
BEARER = {
    "description": "Bearer Token authentication",
    "in": "header",
    "name": "authorization",
    "type": "apiKey",
}


@pytest.fixture(scope="module")
def documents() -> OpenAPI:
    return OpenAPI(KindSet(catalog.load("1.36").values()), "1.36", "1")


async def read(documents: OpenAPI, root: str) -> Any:
    found = await documents.version3(root)
    assert found is not None
    return codec.decode_json(found.bytes())


@pytest.mark.parametrize(
    ("root", "identity", "tag", "media", "answer", "definitions"),
    [
        ("api", "getCoreAPIVersions", "core", ANY, f"{META}APIVersions",
         {f"{META}APIVersions", f"{META}ServerAddressByClientCIDR"}),
        ("apis", "getAPIVersions", "apis", ANY, f"{META}APIGroupList",
         {f"{META}{kind}" for kind in ("APIGroup", "APIGroupList", "GroupVersionForDiscovery", "ServerAddressByClientCIDR")}),
        ("apis/flowcontrol.apiserver.k8s.io", "getFlowcontrolApiserverAPIGroup", "flowcontrolApiserver", ANY, f"{META}APIGroup",
         {f"{META}{kind}" for kind in ("APIGroup", "GroupVersionForDiscovery", "ServerAddressByClientCIDR")}),
        ("version", "getCodeVersion", "version", {"application/json"}, "io.k8s.apimachinery.pkg.version.Info",
         {"io.k8s.apimachinery.pkg.version.Info"}),
        (".well-known/openid-configuration", "getServiceAccountIssuerOpenIDConfiguration", "WellKnown", {"application/json"}, "", set()),
        ("openid/v1/jwks", "getServiceAccountIssuerOpenIDKeyset", "openid", {"application/jwk-set+json"}, "", set()),
    ],
)  # fmt: skip
async def test_each_path_beside_the_resources_has_a_document(
    documents: OpenAPI,
    root: str,
    identity: str,
    tag: str,
    media: set[str],
    answer: str,
    definitions: set[str],
) -> None:
    found = await read(documents, root)
    assert set(found) == {"openapi", "info", "paths", "components"}
    assert list(found["paths"]) == [f"/{root}/"]
    operation = found["paths"][f"/{root}/"]["get"]
    assert (operation["operationId"], operation["tags"]) == (identity, [tag])
    schema = {"$ref": f"#/components/schemas/{answer}"} if answer else {"type": "string"}
    assert operation["responses"] == {
        "200": {"description": "OK", "content": {each: {"schema": schema} for each in media}},
        "401": {"description": "Unauthorized"},
    }
    components = found["components"]
    assert components.pop("securitySchemes") == {"BearerToken": BEARER}
    assert set(components.get("schemas", {})) == definitions
    assert bool(definitions) == ("schemas" in components)


async def test_the_listing_of_a_version_s_resources_stands_with_them(documents: OpenAPI) -> None:
    for root, identity in (("api/v1", "getCoreV1APIResources"), ("apis/apps/v1", "getAppsV1APIResources")):
        found = await read(documents, root)
        assert found["paths"][f"/{root}/"]["get"]["operationId"] == identity
        assert f"{META}APIResourceList" in found["components"]["schemas"]


@pytest.mark.parametrize("root", ["api/v1", "apis/apps/v1", "apis/authorization.k8s.io/v1"])
async def test_a_document_defines_what_its_paths_lead_to_and_nothing_else(
    documents: OpenAPI, root: str
) -> None:
    found = await read(documents, root)
    definitions = found["components"]["schemas"]
    left, reached = references(found["paths"]), set()
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += references(definitions[name])
    assert reached == set(definitions)


async def test_the_listing_names_every_document_in_order(front: Front) -> None:
    paths = (await front.ask("GET", "/openapi/v3")).json["paths"]
    assert list(paths) == sorted(paths)
    groups = {group["name"] for group in (await front.ask("GET", "/apis")).json["groups"]}
    general = {".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"}
    assert {root for root in paths if root.count("/") < 2 and not root.startswith("api/")} == {
        *(general - {"openid/v1/jwks"}),
        *(f"apis/{group}" for group in groups),
    }
    assert "openid/v1/jwks" in paths


@pytest.mark.parametrize("root", ["version", "apis", "apis/apps", ".well-known/openid-configuration"])
async def test_documents_beside_the_resources_are_served_like_the_others(front: Front, root: str) -> None:
    url = (await front.ask("GET", "/openapi/v3")).json["paths"][root]["serverRelativeURL"]
    plain = await front.ask("GET", url)
    assert plain.json["info"]["version"].startswith("v1.36.")
    assert plain.headers["cache-control"] == "public, immutable"
    again = await front.ask("GET", url, headers={"if-none-match": plain.headers["etag"]})
    assert again.status == 304
    moved = await front.ask("GET", f"/openapi/v3/{root}?hash=0")
    assert (moved.status, moved.headers["location"]) == (301, url)
    packed = await front.ask("GET", url, headers={"accept": PROTOBUF3})
    assert packed.body.startswith(b"\x0a\x053.0.0")
    assert f"/{root}/".encode() in packed.body


@pytest.mark.parametrize(
    ("stated", "status"),
    [("{}", 304), ("W/{}", 304), ('"other", {}', 304), ("*", 304), ('"other"', 200), ("", 200)],
)
async def test_what_a_client_has_is_not_sent_again(front: Front, stated: str, status: int) -> None:
    etag = (await front.ask("GET", "/openapi/v3/version")).headers["etag"]
    headers = {"if-none-match": stated.format(etag)}
    answer = await front.ask("GET", "/openapi/v3/version", headers=headers)
    assert (answer.status, bool(answer.body)) == (status, status == 200)


@pytest.mark.parametrize("root", ["logs", "apis/none", "apis/apps/v9", "api/v2"])
async def test_there_is_no_document_of_what_is_not_served(front: Front, root: str) -> None:
    answer = await front.ask("GET", f"/openapi/v3/{root}")
    assert (answer.status, answer.body) == (404, b"")
