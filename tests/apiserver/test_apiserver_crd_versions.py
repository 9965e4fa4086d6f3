"""Custom resources in several versions: which version's defaults an object gets, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource

CRDS = resource("customresourcedefinitions.apiextensions.k8s.io")
VERSIONS = ("v1beta1", "v1alpha1", "v1beta2")
"""The first is the stored one."""


def places(version: str) -> Resource:
    return Resource("example.com", version, "places", "Place", False)


def stated(version: str) -> Object:
    """Every version has a field per version and a default for its own."""
    fields: dict[str, Any] = {name: {"type": "boolean"} for name in VERSIONS}
    fields[version]["default"] = True
    schema = {"type": "object", "properties": {"set": {"type": "object", "properties": fields}}}
    return {
        "name": version, "served": True, "storage": version == VERSIONS[0],
        "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip


@pytest.fixture
async def served(client: Client) -> None:
    spec = {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "places", "kind": "Place"},
        "versions": [stated(version) for version in VERSIONS],
    }  # fmt: skip
    await client.create(CRDS, {"metadata": {"name": "places.example.com"}, "spec": spec})
    async with asyncio.timeout(2):
        while True:
            found = await client.get(CRDS, "places.example.com")
            if objects.is_true(found, "Established"):
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_version_defaults_what_is_written_in_it_and_the_stored_one_what_is_read(
    client: Client, served: None, version: str
) -> None:
    place = {
        "apiVersion": f"example.com/{version}", "kind": "Place", "metadata": {"name": "p"}, "set": {},
    }  # fmt: skip
    expected = {version: True, VERSIONS[0]: True}
    assert (await client.create(places(version), place))["set"] == expected
    for other in VERSIONS:
        assert (await client.get(places(other), "p"))["set"] == expected
        assert [each["set"] for each in (await client.list(places(other)))["items"]] == [expected]


async def test_an_object_gets_the_defaults_of_a_version_when_it_is_changed_in_it(
    client: Client, served: None
) -> None:
    place = {"apiVersion": "example.com/v1beta1", "kind": "Place", "metadata": {"name": "p"}, "set": {}}
    await client.create(places("v1beta1"), place)
    await client.patch(places("v1beta2"), "p", {"metadata": {"labels": {"a": "b"}}})
    assert (await client.get(places("v1alpha1"), "p"))["set"] == {"v1beta1": True, "v1beta2": True}
