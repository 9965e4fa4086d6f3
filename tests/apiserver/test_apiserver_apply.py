"""Server-side apply at the API: what only shows with several clients at once."""

from __future__ import annotations

import asyncio
from typing import Any

from sublet.apiserver.decoding import decode_yaml
from sublet.client.client import Client
from sublet.kinds.resources import resource


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
