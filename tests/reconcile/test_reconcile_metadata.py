"""Following the metadata of a resource."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sublet.client.client import Client
from sublet.machinery.kind import Object, Resource
from sublet.reconcile.metadata import MetadataWatch


class Nobody:
    """Is told, and does nothing."""

    def seen(self, resource: Resource, obj: Object) -> None: ...
    def deleted(self, resource: Resource, obj: Object) -> None: ...
    def listed(self, resource: Resource, uids: set[str]) -> None: ...


async def test_a_resource_that_is_not_served_is_waited_for_quietly(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The API server answers such a path in plain text, as upstream's does."""
    nothing: Any = Resource("example.com", "v1", "nothings", "Nothing", False)
    follower = MetadataWatch(client, nothing, Nobody())
    with caplog.at_level(logging.WARNING, "sublet.reconcile"):
        task = asyncio.create_task(follower.run())
        await asyncio.wait_for(follower.tried.wait(), 5)
        task.cancel()
    assert caplog.records == []
