"""Server-side apply at the API: what only shows with several clients at once."""

from __future__ import annotations

import asyncio
from typing import Any

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
