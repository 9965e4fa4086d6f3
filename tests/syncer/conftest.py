"""Hosts with hollow nodes, and tenants on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from syncer_clusters import Cluster, running_host, running_tenant


@pytest.fixture
async def clusters(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Starts hosts and tenants for one test: ``await clusters()`` gives (tenant, host)."""
    async with AsyncExitStack() as stack:
        hosts: list[Cluster] = []

        async def start(name: str = "acme", sync: dict[str, Any] | None = None, **options: Any) -> Any:
            if not hosts:
                hosts.append(await stack.enter_async_context(running_host(tmp_path / "host")))
            tenant = await stack.enter_async_context(
                running_tenant(hosts[0], tmp_path / name, name, sync, **options)
            )
            return tenant, hosts[0]

        yield start
