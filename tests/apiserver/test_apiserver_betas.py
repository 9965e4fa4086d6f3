"""Versions before the stable one that have its shape, where ``--runtime-config`` asks for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, Response, User
from sublet.controlplane.flags import applied, parse_flags
from sublet.kinds import betas, schemas
from sublet.machinery.settings import ConfigurationError
from sublet.store.interface import Store

ADMIN = User("admin", ("system:masters",))
CLASSES = "/apis/storage.k8s.io/v1beta1/volumeattributesclasses"


def further(*stated: str, minor: str = "1.36") -> Sequence[str]:
    found = applied(parse_flags([f"--runtime-config={each}" for each in stated]), minor=minor)[
        "further_versions"
    ]
    return sorted({each.rpartition("/")[0] for each in found})


@asynccontextmanager
async def serving(store: Store, *stated: str) -> AsyncIterator[APIServer]:
    chosen = betas.asked_for(dict.fromkeys(stated, True), "1.36")
    api = APIServer(APIServerSettings(minor="1.36", further_versions=chosen), store, detect_mutation=True)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


async def call(
    api: APIServer, method: str, path: str, body: object = None, **headers: str
) -> tuple[Response, Any]:
    path, _, query = path.partition("?")
    sent = {
        "content-type": "application/json",
        **{key.replace("_", "-"): text for key, text in headers.items()},
    }
    data = json.dumps(body).encode() if body is not None else b""
    response = await api.handle(Request(method, path, query, sent, data, user=ADMIN))
    assert isinstance(response.body, bytes)
    return response, json.loads(response.body) if response.body.startswith(b"{") else None


def test_the_narrower_key_decides() -> None:
    assert further() == []
    assert further("api/beta=true") == [
        "admissionregistration.k8s.io/v1beta1", "networking.k8s.io/v1beta1", "resource.k8s.io/v1beta2",
        "storage.k8s.io/v1beta1",
    ]  # fmt: skip
    assert further("api/alpha=true") == ["admissionregistration.k8s.io/v1alpha1"]
    assert further("api/all=true,api/beta=false,networking.k8s.io/v1beta1=true") == [
        "admissionregistration.k8s.io/v1alpha1", "networking.k8s.io/v1beta1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("minor", "key"),
    [
        ("1.36", "resource.k8s.io/v1beta1"),
        ("1.33", "resource.k8s.io/v1beta2"),
        ("1.37", "networking.k8s.io/v1beta1"),
        ("1.36", "coordination.k8s.io/v1beta1"),
    ],
)
def test_what_is_not_here_is_refused(minor: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no such API here"):
        further(f"{key}=true", minor=minor)
    assert further(f"{key}=false", minor=minor) == []


async def test_objects_are_the_same_under_both_versions(store: Store) -> None:
    async with serving(store, "storage.k8s.io/v1beta1") as api:
        made = {"metadata": {"name": "gold"}, "driverName": "d", "parameters": {"a": "b"}}
        response, created = await call(api, "POST", f"{CLASSES}?fieldManager=me", made)
        assert response.status == 201 and created["apiVersion"] == "storage.k8s.io/v1beta1"
        assert created["metadata"]["managedFields"][0]["apiVersion"] == "storage.k8s.io/v1beta1"
        assert dict(response.headers)["Warning"] == (
            '299 - "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+"'
        )
        response, read = await call(api, "GET", f"{CLASSES.replace('v1beta1', 'v1')}/gold")
        assert (read["apiVersion"], read["parameters"]) == ("storage.k8s.io/v1", {"a": "b"})
        assert "Warning" not in dict(response.headers)
        _, patched = await call(
            api, "PATCH", f"{CLASSES}/gold", {"metadata": {"labels": {"x": "y"}}},
            content_type="application/strategic-merge-patch+json",
        )  # fmt: skip
        assert (patched["apiVersion"], patched["metadata"]["labels"]) == (
            "storage.k8s.io/v1beta1",
            {"x": "y"},
        )
        _, listed = await call(api, "GET", CLASSES)
        assert (listed["apiVersion"], listed["kind"]) == (
            "storage.k8s.io/v1beta1",
            "VolumeAttributesClassList",
        )
        assert [each["metadata"]["name"] for each in listed["items"]] == ["gold"]


async def test_discovery_tells_of_them_after_the_stable_version(store: Store) -> None:
    async with serving(store, "api/all") as api:
        _, group = await call(api, "GET", "/apis/networking.k8s.io")
        assert [each["version"] for each in group["versions"]] == ["v1", "v1beta1"]
        assert group["preferredVersion"]["version"] == "v1"
        _, admission = await call(api, "GET", "/apis/admissionregistration.k8s.io")
        assert [each["version"] for each in admission["versions"]] == ["v1", "v1beta1", "v1alpha1"]
        _, found = await call(api, "GET", "/apis/networking.k8s.io/v1beta1")
        assert [each["name"] for each in found["resources"]] == [
            "ipaddresses", "servicecidrs", "servicecidrs/status",
        ]  # fmt: skip
        _, of_v1 = await call(api, "GET", "/apis/networking.k8s.io/v1")
        hashes = {each["name"]: each.get("storageVersionHash") for each in of_v1["resources"]}
        assert all(each.get("storageVersionHash") == hashes[each["name"]] for each in found["resources"])
        for version, priority in (("v1beta1.networking.k8s.io", 9), ("v1beta2.resource.k8s.io", 15)):
            _, service = await call(api, "GET", f"/apis/apiregistration.k8s.io/v1/apiservices/{version}")
            assert service["spec"]["versionPriority"] == priority
        _, document = await call(api, "GET", "/openapi/v3/apis/networking.k8s.io/v1beta1")
        assert "/apis/networking.k8s.io/v1beta1/servicecidrs/{name}" in document["paths"]


async def test_a_store_outlives_that_they_are_switched_off(store: Store) -> None:
    async with serving(store, "api/beta") as api:
        body = {"metadata": {"name": "gold"}, "driverName": "d", "parameters": {"a": "b"}}
        assert (await call(api, "POST", CLASSES, body))[0].status == 201
    async with serving(store) as api:
        response, _ = await call(api, "GET", CLASSES)
        assert response.status == 404
        _, read = await call(api, "GET", f"{CLASSES.replace('v1beta1', 'v1')}/gold")
        assert read["driverName"] == "d"
        response, _ = await call(
            api, "GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.storage.k8s.io"
        )
        assert response.status == 404


@pytest.mark.parametrize("minor", schemas.minors())
def test_their_shape_is_that_of_the_stable_version(minor: str) -> None:
    """Else they must not be here: an object of the one would lose fields in the other."""
    for each in sorted(betas.asked_for({"api/all": True}, minor)):
        group, version, _ = each.split("/")
        own, stable = (schemas.openapi_definitions(minor, f"{group}/{name}") for name in (version, "v1"))
        here = {name for name in own if f".{version}." in name}
        assert here
        for name in here:
            if (first := stable.get(name.replace(f".{version}.", ".v1."))) is not None:
                assert shape(first) == shape(own[name], f".{version}."), name


def shape(node: Any, version: str = ".v1.") -> Any:
    """Without texts and the name of the version, and what changes no object."""
    if isinstance(node, dict):
        unlike = ("description", "enum", "x-kubernetes-map-type", "x-kubernetes-group-version-kind")
        return {key: shape(value, version) for key, value in node.items() if key not in unlike}
    if isinstance(node, list):
        return [shape(each, version) for each in node]
    return node.replace(version, ".v1.") if isinstance(node, str) else node
