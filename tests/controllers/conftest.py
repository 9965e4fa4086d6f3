"""What all tests of controllers share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from controllers_cluster import Cluster, running, until


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """All controllers and two hollow nodes; the namespace ``test`` exists."""
    async with running(None, 2) as found:
        await found.namespace()
        yield found
