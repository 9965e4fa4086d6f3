"""What all tests of controllers share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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


class _Refusals(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "system:serviceaccount:kube-system:" in text and " cannot " in text:
            self.found.append(text)


@pytest.fixture(autouse=True)
def roles_suffice() -> Iterator[None]:
    """No controller was refused what it tried: the bootstrap roles are all that it needs."""
    log, refusals = logging.getLogger("sublet"), _Refusals()
    before = log.level
    log.addHandler(refusals)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(refusals)
        log.setLevel(before)
    assert not refusals.found
