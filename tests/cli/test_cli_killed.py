"""`sublet run` killed with SIGKILL while clients write: what was acknowledged is there after the restart."""

from __future__ import annotations

import asyncio
import time

import pytest
from cli_commands import Commands, free_port, kill

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.kinds.resources import resource
from sublet.machinery.status import StatusError

CONFIG_MAPS = resource("configmaps")
WRITERS = 8
PAYLOAD = "x" * 2000


def started(commands: Commands, port: int):
    process = commands.start("run", "--data-dir", "d", "--port", str(port))
    assert process.stdout is not None
    for line in process.stdout:
        if "is ready" in line:
            return process
    raise AssertionError(f"sublet run ended: {process.wait(5)}")


def client(commands: Commands) -> Client:
    access = kubeconfig.load(commands.directory / "d" / "kubeconfig.yaml")
    return Client(HTTPTransport(access, connections=WRITERS), "test")


async def write_until_killed(commands: Commands, process, seconds: float) -> tuple[dict[str, str], set[str]]:
    """(name -> revision of what was acknowledged, names whose fate is unknown)."""
    acknowledged: dict[str, str] = {}
    begun: set[str] = set()
    api = client(commands)

    async def writer(number: int) -> None:
        for count in range(100_000):
            name = f"w{number}-{count}"
            begun.add(name)
            obj = {
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
                "data": {"name": name, "payload": PAYLOAD},
            }  # fmt: skip
            try:
                made = await api.create(CONFIG_MAPS, obj)
            except (StatusError, OSError):
                return
            acknowledged[name] = made["metadata"]["resourceVersion"]

    writers = [asyncio.create_task(writer(number)) for number in range(WRITERS)]
    await asyncio.sleep(seconds)
    async with asyncio.timeout(30):
        while len(acknowledged) <= 20:  # noqa: ASYNC110  # a busy machine: too little load to show anything
            await asyncio.sleep(0.01)
    await asyncio.to_thread(kill, process)
    await asyncio.gather(*writers)
    await api.close()
    return acknowledged, begun - set(acknowledged)


async def found(commands: Commands) -> dict[str, dict]:
    api = client(commands)
    items = (await api.list(CONFIG_MAPS, "default"))["items"]
    await api.close()
    return {item["metadata"]["name"]: item for item in items if item["metadata"]["name"].startswith("w")}


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_and_the_restart_serves(alone, rng):
    port = free_port()
    acknowledged: dict[str, str] = {}
    for _ in range(3):
        process = await asyncio.to_thread(started, alone, port)
        api = client(alone)
        for item in await found(alone):  # names of the rounds before are taken
            await api.delete(CONFIG_MAPS, item, "default")
        await api.close()
        acknowledged, unknown = await write_until_killed(alone, process, 0.5 + rng.random())
        begun = time.monotonic()
        process = await asyncio.to_thread(started, alone, port)
        there = await found(alone)
        assert time.monotonic() - begun < 20
        assert {
            name: there.get(name, {}).get("metadata", {}).get("resourceVersion") for name in acknowledged
        } == (acknowledged)
        assert set(there) - set(acknowledged) <= unknown
        for name, item in there.items():
            assert item["data"] == {"name": name, "payload": PAYLOAD}
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0


async def test_writes_after_the_restart_go_on_from_a_higher_revision(alone):
    port = free_port()
    process = await asyncio.to_thread(started, alone, port)
    acknowledged, _unknown = await write_until_killed(alone, process, 0.5)
    process = await asyncio.to_thread(started, alone, port)
    api = client(alone)
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after", "namespace": "default"}}
    made = await api.create(CONFIG_MAPS, obj)
    await api.close()
    assert int(made["metadata"]["resourceVersion"]) > max(map(int, acknowledged.values()))
    process.terminate()
    assert await asyncio.to_thread(process.wait, 20) == 0
