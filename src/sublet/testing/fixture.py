"""Control planes that live on one background loop, so that any test, async or not, can use them."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.machinery.clock import Clock

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        import uvloop

        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sublet", daemon=True)
        self._thread.start()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(main, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RunningControlPlane:
    """What a test gets."""

    def __init__(self, plane: ControlPlane, loop: _Loop) -> None:
        self.plane = plane
        self._loop = loop
        self._hollow: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``."""
        return self.plane.url

    @property
    def kubeconfig(self) -> Path:
        """Path of an administrator's kubeconfig."""
        return self.plane.kubeconfig_path

    def add_nodes(self, count: int = 1) -> None:
        """Hollow nodes: pods are scheduled and reported running without running."""
        from sublet.node.hollow import run_hollow

        async def start() -> None:
            client = self.plane.client(user_agent="kubelet")
            self._hollow.append(
                asyncio.get_running_loop().create_task(run_hollow(client, count, clock=self.plane.clock))
            )

        self._loop.run(start())

    def _stop(self) -> None:
        async def stop() -> None:
            for task in self._hollow:
                task.cancel()
            await asyncio.gather(*self._hollow, return_exceptions=True)
            await self.plane.stop()

        self._loop.run(stop())


@contextmanager
def running_control_plane(
    *, controllers: bool = True, scheduler: bool = True, minor: str = "1.36", nodes: int = 0,
    data_dir: Path | None = None, advertise_address: str = "127.0.0.1", clock: Clock | None = None,
    metrics: bool = False,
) -> Iterator[RunningControlPlane]:  # fmt: skip
    """A control plane for the length of a ``with`` block.

    Without ``data_dir`` it keeps everything in memory; ``nodes`` hollow nodes report pods as running. Service
    ``default/kubernetes`` has a ready endpoint when ``advertise_address`` is no loopback address. ``metrics``: serves
    ``metrics.k8s.io``; a pod uses what its annotation ``sublet.dev/hollow-usage: cpu=250m,memory=64Mi`` says.
    """
    loop = _Loop()
    with tempfile.TemporaryDirectory(prefix="sublet-test-") as scratch:
        assembly = Assembly(
            data_dir=data_dir or Path(scratch),
            store_url="" if data_dir else "memory://",
            minor=minor,
            controllers=controllers,
            scheduler=scheduler,
            advertise_address=advertise_address,
            resource_metrics=metrics,
        )

        async def start() -> ControlPlane:
            plane = ControlPlane(assembly, clock=clock)
            await plane.start()
            return plane

        try:
            running = RunningControlPlane(loop.run(start()), loop)
            try:
                if nodes:
                    running.add_nodes(nodes)
                yield running
            finally:
                running._stop()
        finally:
            loop.close()


@pytest.fixture
def control_plane() -> Iterator[RunningControlPlane]:
    """A Kubernetes API with its controllers and one hollow node."""
    with running_control_plane(nodes=1) as running:
        yield running
