"""Server-side apply at the API: what only shows with several clients at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sublet.apiserver.decoding import decode_yaml
from sublet.client.client import Client
from sublet.kinds.resources import resource

PODS = resource("pods")


async def test_managers_that_create_the_same_object_at_once_both_succeed(client: Client) -> None:
    def apply(manager: str) -> Any:
        obj = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "shared", "namespace": "default"},
            "data": {manager: "here"},
        }
        return client.patch(
            resource("configmaps"), "shared", obj, "default", kind="apply", field_manager=manager
        )

    await asyncio.gather(*(apply(f"manager-{number}") for number in range(4)))
    stored = await client.get(resource("configmaps"), "shared", "default")
    assert stored["data"] == {f"manager-{number}": "here" for number in range(4)}


def test_an_applied_json_document_is_read_as_json_and_flow_style_as_yaml() -> None:
    assert decode_yaml(b'{"a":{"b":1}}', "Strict") == ({"a": {"b": 1}}, [])
    assert decode_yaml(b"{a: {b: yes}}", "Strict") == ({"a": {"b": True}}, [])
    assert decode_yaml(b"a:\n  b: 1\n", "Strict") == ({"a": {"b": 1}}, [])


def test_keys_that_an_applied_document_repeats_are_named_by_line_in_json_too() -> None:
    expected = ({"a": 2}, ['line 1: key "a" already set in map'])
    assert decode_yaml(b'{"a":1,"a":2}', "Warn") == expected
    assert decode_yaml(b'{"a":1,"a":2}', "Ignore") == ({"a": 2}, [])


@pytest.mark.usefixtures("default_account")
async def test_zeros_that_say_nothing_are_owned_but_not_kept(client: Client) -> None:
    container = {"name": "c", "image": "i", "stdin": False, "args": [], "env": [{"name": "A", "value": ""}]}
    applied = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "labels": {}},
        "spec": {"hostNetwork": False, "nodeSelector": {}, "automountServiceAccountToken": False, "containers": [container]},
    }  # fmt: skip

    async def apply() -> Any:
        return await client.patch(PODS, "web", applied, "default", kind="apply", field_manager="m")

    made = await apply()
    assert made["spec"]["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "nodeSelector"} & made["spec"].keys()
    (shown,) = made["spec"]["containers"]
    assert shown["env"] == [{"name": "A"}]
    assert not {"stdin", "args"} & shown.keys()
    assert "f:hostNetwork" in made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    assert (await apply())["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    labelled = await client.patch(PODS, "web", {"metadata": {"labels": {"a": ""}}}, "default", kind="merge")
    assert labelled["metadata"]["labels"] == {"a": ""}
