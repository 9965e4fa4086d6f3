"""One host cluster for all tests of tenants with real containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tenants_host import TenantsHost, tenants_host_cluster


@pytest.fixture(scope="session")
def tenants_host() -> Iterator[TenantsHost]:
    with tenants_host_cluster() as host:
        yield host
