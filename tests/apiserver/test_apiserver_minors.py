"""Each Kubernetes minor: its discovery and OpenAPI are its definitions', and a store outlives a change of minor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.duties import Duties
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, User
from sublet.kinds import resources, schemas
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.store.interface import Store

ADMIN = User("admin", ("system:masters",))
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CONFIG_MAPS, PODS, CLAIMS = (
    resource("configmaps"),
    resource("pods"),
    resource("resourceclaims.resource.k8s.io"),
)
every_minor = pytest.mark.parametrize("minor", schemas.minors())


@asynccontextmanager
async def serving(store: Store, minor: str, version: str = "9.9.9") -> AsyncIterator[APIServer]:
    api = APIServer(APIServerSettings(minor=minor, version=version), store, detect_mutation=True)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


async def ask(api: APIServer, path: str, accept: str = "application/json") -> Any:
    path, _, query = path.partition("?")
    response = await api.handle(Request("GET", path, query, {"accept": accept}, user=ADMIN))
    assert response.status == 200, (path, response.body)
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def generally_available(minor: str) -> set[tuple[str, str, str]]:
    """(API version, plural, Kind) of the table of facts, as far as the minor's definitions have the kind."""
    known = schemas.names(minor)
    found = set()
    for row in resources.rows():
        api_version = f"{row['group']}/{row['version']}" if row["group"] else row["version"]
        if row["kind"] in known.get(api_version, {}) and row["version"].removeprefix("v").isdigit():
            found.add((api_version, row["resource"], row["kind"]))
    return found


@every_minor
async def test_discovery_has_exactly_what_the_minor_defines(store: Store, minor: str) -> None:
    async with serving(store, minor) as api:
        versions = ["v1", *(
            listed["groupVersion"]
            for group in (await ask(api, "/apis"))["groups"] for listed in group["versions"]
        )]  # fmt: skip
        legacy = {
            (version, row["name"], row["kind"])
            for version in versions
            for row in (await ask(api, f"/apis/{version}" if "/" in version else f"/api/{version}"))[
                "resources"
            ]
            if "/" not in row["name"]
        }
        aggregated = {
            ("/".join(filter(None, (group["metadata"].get("name"), version["version"]))), listed["resource"], kind["kind"])
            for root in ("/api", "/apis")
            for group in (await ask(api, root, AGGREGATED))["items"]
            for version in group["versions"] for listed in version["resources"]
            for kind in (listed["responseKind"],)
        }  # fmt: skip
    assert legacy == aggregated == generally_available(minor)


@every_minor
async def test_openapi_defines_what_discovery_lists(store: Store, minor: str) -> None:
    async with serving(store, minor) as api:
        whole = await ask(api, "/openapi/v2")
        assert whole["info"]["version"].startswith(f"v{minor}.")
        index = (await ask(api, "/openapi/v3"))["paths"]
        for api_version, plural, kind in sorted(generally_available(minor)):
            name = schemas.names(minor)[api_version][kind]
            wanted = set(schemas.definitions(minor)[name]["properties"])
            assert set(whole["definitions"][name]["properties"]) == wanted
            root = f"apis/{api_version}" if "/" in api_version else f"api/{api_version}"
            assert any(path.startswith(f"/{root}/") and f"/{plural}" in path for path in whole["paths"])
            assert root in index
        for root in ("api/v1", "apis/apps/v1", "apis/networking.k8s.io/v1"):
            document = await ask(api, index[root]["serverRelativeURL"])
            for api_version, _, kind in generally_available(minor):
                if root.partition("/")[2] == api_version:
                    name = schemas.names(minor)[api_version][kind]
                    wanted = set(schemas.definitions(minor)[name]["properties"])
                    assert set(document["components"]["schemas"][name]["properties"]) == wanted


@every_minor
async def test_the_version_is_the_minor_s(store: Store, minor: str) -> None:
    async with serving(store, minor) as api:
        version = await ask(api, "/version")
    assert f"{version['major']}.{version['minor']}" == minor
    assert version["gitVersion"].startswith(f"v{minor}.")
    assert (version["emulationMinor"], version["minCompatibilityMinor"]) == (
        version["minor"], str(int(version["minor"]) - 1),
    )  # fmt: skip


def pod(**spec: Any) -> Object:
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False, **spec},
    }  # fmt: skip


ACCOUNT: Object = {
    "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"},
}  # fmt: skip


async def test_a_field_of_a_later_minor_is_unknown(store: Store) -> None:
    async with serving(store, "1.30") as api:
        await api.client.create(resource("serviceaccounts"), ACCOUNT)
        body = codec.encode_json(pod(hostnameOverride="x"))
        response = await api.handle(
            Request("POST", "/api/v1/namespaces/default/pods", headers={"content-type": "application/json"},
                    body=body, user=ADMIN)
        )  # fmt: skip
    assert response.status == 201 and isinstance(response.body, bytes)
    assert "hostnameOverride" not in json.loads(response.body)["spec"]
    assert 'unknown field \\"spec.hostnameOverride\\"' in response.header("Warning")


async def test_an_older_minor_reads_what_a_later_one_wrote_without_what_it_lacks(store: Store) -> None:
    async with serving(store, "1.36") as api:
        await api.client.create(resource("serviceaccounts"), ACCOUNT)
        await api.client.create(PODS, pod(hostnameOverride="x", hostname="h"))
        devices = {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}
        await api.client.create(
            CLAIMS, {"metadata": {"name": "claim", "namespace": "default"}, "spec": {"devices": devices}}
        )
    async with serving(store, "1.30") as api:
        found = await api.client.get(PODS, "web", "default")
        assert (found["spec"]["hostname"], "hostnameOverride" in found["spec"]) == ("h", False)
        (listed,) = (await api.client.list(PODS, "default"))["items"]
        assert listed["spec"] == found["spec"]
        assert api.kinds.find("resource.k8s.io", "v1", "resourceclaims") is None
        await rewritten(api)
        entry = await store.get("/registry/core/pods/default/web")
        assert entry is not None and entry.value.startswith(b"s2 9.9.9 1.30\n")
        assert "hostnameOverride" not in codec.decode_json(entry.value.partition(b"\n")[2])["spec"]
    async with serving(store, "1.36") as api:
        assert (await api.client.get(CLAIMS, "claim", "default"))["spec"]["devices"]["requests"][0][
            "name"
        ] == "r"
        assert (await api.client.get(PODS, "web", "default"))["spec"]["hostname"] == "h"


async def rewritten(api: APIServer) -> None:
    """Until nothing is left of another writer."""
    duties = Duties(api)
    while await duties.rewrite():
        await api.caches.fresh()


@pytest.mark.parametrize("minor", ["1.30", "1.37"])
async def test_a_store_of_any_minor_opens_with_any_other(store: Store, minor: str) -> None:
    other = "1.37" if minor == "1.30" else "1.30"
    async with serving(store, other, "0.0.1") as api:
        await api.client.create(
            CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}, "data": {"k": ""}}
        )
    async with serving(store, minor, "0.0.2") as api:
        for root in (
            "/api/v1",
            "/apis/apps/v1",
            "/apis/rbac.authorization.k8s.io/v1",
            "/apis/flowcontrol.apiserver.k8s.io/v1",
        ):
            for row in (await ask(api, root))["resources"]:
                if "list" in row["verbs"]:
                    assert (await ask(api, f"{root}/{row['name']}"))["kind"].endswith("List")
        await rewritten(api)
        listing = await store.list("/registry/")
        mine = [entry for entry in listing.entries if entry.value.startswith(f"s2 0.0.2 {minor}".encode())]
        left = {entry.key.split("/")[2] for entry in listing.entries} - {
            entry.key.split("/")[2] for entry in mine
        }
        assert mine and not left & {
            "core",
            "apps",
            "rbac.authorization.k8s.io",
            "flowcontrol.apiserver.k8s.io",
        }
        assert (await api.client.get(CONFIG_MAPS, "a", "default"))["data"] == {"k": ""}


async def test_an_object_of_an_earlier_release_has_today_s_defaults(store: Store) -> None:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", "stdin": False}]},
    }
    old = {
        "metadata": {"name": "d", "namespace": "default", "uid": "u", "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, "gone": True},
    }  # fmt: skip
    await store.create("/registry/apps/deployments/default/d", b"s1 0.0.0 1.29\n" + codec.encode_json(old))
    async with serving(store, "1.36") as api:
        deployments = resource("deployments.apps")
        found = await api.client.get(deployments, "d", "default")
        assert (found["spec"]["replicas"], found["spec"]["progressDeadlineSeconds"]) == (1, 600)
        assert "gone" not in found["spec"]
        assert "stdin" not in found["spec"]["template"]["spec"]["containers"][0]
        (listed,) = (await api.client.list(deployments, "default"))["items"]
        assert listed["spec"] == found["spec"]
