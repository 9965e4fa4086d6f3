"""Tokens of generated Secrets that nobody uses: first marked, then deleted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import Cluster, running

from sublet.client.events import EventRecorder
from sublet.client.informer import InformerFactory
from sublet.controllers.legacy_service_account_token_cleaner import INVALID_SINCE, LAST_USED, Cleaner
from sublet.kinds.resources import resource
from sublet.reconcile.manager import Context

SECRETS = resource("secrets")
DAY = 86400.0


class Later:
    """A clock so many days ahead."""

    def __init__(self) -> None:
        self.days = 0.0

    def now(self) -> float:
        return time.time() + self.days * DAY

    def monotonic(self) -> float:
        return time.monotonic()


class Cleaning:
    """A cluster with three token Secrets (``mounted``, ``idle`` and ``manual``) and the cleaner."""

    def __init__(self, cluster: Cluster, cleaner: Cleaner, clock: Later) -> None:
        self.cluster = cluster
        self._cleaner = cleaner
        self._clock = clock

    async def labels(self, name: str) -> dict[str, str]:
        found = await self.cluster.get("secrets", name)
        return found["metadata"].get("labels") or {}

    async def look(self, days: float) -> None:
        self._clock.days = days
        await asyncio.sleep(0.1)  # what was written last is seen
        await self._cleaner.reconcile("all")


@pytest.fixture
async def cleaning() -> AsyncIterator[Cleaning]:
    async with running(set(), 0) as cluster:
        await cluster.namespace()
        listed = [{"name": "mounted"}, {"name": "idle"}]
        account: dict[str, Any] = {"metadata": {"name": "bot"}, "secrets": listed}
        await cluster.client.create(resource("serviceaccounts"), account, "test")
        for name in ("mounted", "idle", "manual"):
            metadata = {"name": name, "annotations": {"kubernetes.io/service-account.name": "bot"}}
            secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token"}
            await cluster.client.create(SECRETS, secret, "test")
        volume = {"name": "v", "secret": {"secretName": "mounted"}}
        containers = [{"name": "c", "image": "i"}]
        pod = {"containers": containers, "volumes": [volume], "serviceAccountName": "bot"}
        await cluster.make("pods", "p", pod)
        clock, rng = Later(), random.Random(1)
        informers = InformerFactory(cluster.client, clock, rng)
        cleaner = Cleaner(Context(cluster.client, informers, EventRecorder(cluster.client, "t"), clock, rng))
        await informers.start()
        await informers.synced()
        yield Cleaning(cluster, cleaner, clock)
        await informers.stop()


async def test_nothing_happens_before_uses_were_noted_for_a_year(cleaning: Cleaning) -> None:
    await cleaning.look(365)
    assert INVALID_SINCE not in await cleaning.labels("idle")


async def test_only_what_is_generated_and_used_by_no_pod_is_marked(cleaning: Cleaning) -> None:
    await cleaning.look(367)
    assert INVALID_SINCE in await cleaning.labels("idle")
    assert INVALID_SINCE not in await cleaning.labels("mounted")
    assert INVALID_SINCE not in await cleaning.labels("manual")


async def test_a_token_used_within_the_year_stays(cleaning: Cleaning) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 200 * DAY))
    await cleaning.cluster.client.patch(SECRETS, "idle", {"metadata": {"labels": {LAST_USED: day}}}, "test")
    await cleaning.look(367)
    assert INVALID_SINCE not in await cleaning.labels("idle")


async def test_a_year_after_its_mark_the_secret_goes(cleaning: Cleaning) -> None:
    await cleaning.look(367)
    await cleaning.look(700)
    assert {each["metadata"]["name"] for each in await cleaning.cluster.items("secrets")} >= {"idle"}
    await cleaning.look(740)
    assert {each["metadata"]["name"] for each in await cleaning.cluster.items("secrets")} == {
        "mounted",
        "manual",
    }
