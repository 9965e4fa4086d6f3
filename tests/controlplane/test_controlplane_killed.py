"""A control plane that is killed in the middle of its work: once it is back, everything ends as it was asked for.

``sublet run`` over SQLite is one process, its hollow nodes are another. SUBLET_SOAK sets how many rounds there are,
SUBLET_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from invariants import settled
from scene import NODES, Scene
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import load

_SUBLET = (sys.executable, "-m", "sublet.cli.main")
_MOST_ROUNDS = 20


class Processes:
    """The control plane, which can be killed and started again, and its nodes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._log = (data_dir / "log").open("ab")
        self._server: subprocess.Popen[bytes] | None = None
        self._nodes: subprocess.Popen[bytes] | None = None

    def _spawn(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*_SUBLET, *words], stdout=self._log, stderr=self._log)

    def start_server(self) -> None:
        self._server = self._spawn("run", "--data-dir", str(self.data_dir), "--port", str(self._port))

    def start_nodes(self) -> None:
        kubeconfig = str(self.data_dir / "kubeconfig.yaml")
        self._nodes = self._spawn("node", "hollow", "--count", str(NODES), "--kubeconfig", kubeconfig)

    def kill_server(self) -> None:
        assert self._server is not None
        assert self._server.poll() is None, "it ended by itself"
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()

    def kill_nodes(self) -> None:
        assert self._nodes is not None
        self._nodes.send_signal(signal.SIGKILL)
        self._nodes.wait()

    def end(self) -> None:
        for process in (self._nodes, self._server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self._log.close()


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    made = Processes(tmp_path)
    made.start_server()
    try:
        async with asyncio.timeout(30):
            while b"is ready" not in (tmp_path / "log").read_bytes():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        made.start_nodes()
        yield made
    finally:
        made.end()


@pytest.mark.timeout(3600)
async def test_whatever_is_killed_in_the_middle_of_work_everything_ends_as_asked_for(
    processes: Processes, seed: int
) -> None:
    """The server dies once or twice in a round, at random moments; in some rounds so do the nodes."""
    rounds = min(int(os.environ.get("SUBLET_SOAK") or 2), _MOST_ROUNDS)
    client = Client(HTTPTransport(load(processes.data_dir / "kubeconfig.yaml")), "test")
    try:
        for number in range(rounds):
            chance = random.Random(seed + number)
            print(f"round {number}: SUBLET_SEED={seed + number}", flush=True)
            scene = Scene(client, number, chance)
            await scene.prepare()
            await settled(client, 60.0)
            acting = asyncio.create_task(scene.act())
            for _ in range(chance.choice((1, 1, 2))):
                await asyncio.sleep(chance.uniform(0.0, 2.0))
                if chance.random() < 0.3:
                    processes.kill_nodes()
                    processes.start_nodes()
                processes.kill_server()
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                processes.start_server()
            await acting
            await scene.check()
    finally:
        await client.close()
