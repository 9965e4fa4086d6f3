"""Controllers, scheduler and nodes whose requests fail, whose watches break and whose clock jumps."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from invariants import settled
from mishaps import Mishaps, Odds
from scene import NODES, Scene
from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.node.hollow import run_hollow

pytestmark = pytest.mark.timeout(600)


class JumpingClock:
    """Real time, except that the date may jump."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


Planes = Callable[[Mishaps, JumpingClock], AbstractAsyncContextManager[Client]]


@pytest.fixture
def planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planes:
    """A control plane with nodes, all of whose own clients suffer mishaps; yields a client that does not."""

    @asynccontextmanager
    async def running(mishaps: Mishaps, clock: JumpingClock) -> AsyncIterator[Client]:
        reliable = APIServer.client_as

        def unreliable(api: APIServer, user: User, user_agent: str = "sublet") -> Client:
            return Client(mishaps.on(reliable(api, user, user_agent).transport), user_agent)

        plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"), clock=clock)
        with monkeypatch.context() as patched:
            patched.setattr(APIServer, "client_as", unreliable)
            await plane.start()
            nodes = asyncio.create_task(run_hollow(plane.client(), NODES, clock=clock))
        try:
            yield plane.client()
        finally:
            nodes.cancel()
            await asyncio.gather(nodes, return_exceptions=True)
            await plane.stop()

    return running


@pytest.mark.parametrize(
    "odds",
    [
        pytest.param(Odds(conflict=0.4), id="conflicts"),
        pytest.param(Odds(refused=0.3), id="refusals"),
        pytest.param(Odds(unknown=0.4), id="answers-lost"),
        pytest.param(Odds(slow=0.2), id="slowness"),
        pytest.param(Odds(lost=0.5, gone=0.4), id="watches-lost"),
        pytest.param(Odds(0.05, 0.03, 0.03, 0.05, 0.02, 0.02), id="all-at-once"),
    ],
)
async def test_work_ends_as_asked_for_while_requests_fail(
    odds: Odds, planes: Planes, rng: random.Random
) -> None:
    mishaps = Mishaps(Odds(), rng)
    async with planes(mishaps, JumpingClock()) as client:
        scene = Scene(client, 0, rng)
        await scene.prepare()
        await settled(client)
        mishaps.odds = odds
        await scene.act()
        await asyncio.sleep(2.0)
        mishaps.odds = Odds()
        print("happened:", dict(mishaps.happened))
        assert sum(mishaps.happened.values()) > 5
        await scene.check()


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 86400.0 * 30])
async def test_work_ends_as_asked_for_when_the_date_jumps(
    seconds: float, planes: Planes, rng: random.Random
) -> None:
    clock = JumpingClock()
    async with planes(Mishaps(Odds(), rng), clock) as client:
        scene = Scene(client, 0, rng)
        await scene.prepare()
        await settled(client)
        acting = asyncio.create_task(scene.act())
        await asyncio.sleep(rng.uniform(0.0, 0.5))
        clock.ahead = seconds
        await acting
        await scene.check()
