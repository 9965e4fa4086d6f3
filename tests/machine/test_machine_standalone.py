"""A standalone cluster without containers: what an ordinary user gets, and what every cluster does with its files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.kinds.resources import resource
from sublet.machine import standalone
from sublet.machine.processes import Processes, exclusive
from sublet.machine.standalone import StandaloneSettings
from sublet.machinery.status import BadRequest, Conflict, ServiceUnavailable

CONFIG_MAPS, PODS = resource("configmaps"), resource("pods")
CLAIMS = resource("persistentvolumeclaims")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def settings():
    directory = Path(tempfile.mkdtemp(prefix="sl-"))
    made = StandaloneSettings(
        directory / "d", mode="hollow", port=free_port(), host="127.0.0.1", node_name="n", timeout=60
    )
    yield made
    await standalone.clean(made)
    shutil.rmtree(directory)


async def client_of(settings):
    return Client(HTTPTransport(kubeconfig.load(settings.kubeconfig)), "test")


async def mark(settings):
    client = await client_of(settings)
    data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mark", "namespace": "default"}}
    await client.create(CONFIG_MAPS, data)
    await client.close()


async def is_marked(settings):
    client = await client_of(settings)
    found = [each["metadata"]["name"] for each in (await client.list(CONFIG_MAPS, "default"))["items"]]
    await client.close()
    return "mark" in found


def pids(settings):
    processes = Processes(settings.run_dir)
    return {name: processes.pid(name) for name in ("supervisor", "control-plane", "node")}


async def test_up_brings_a_cluster_whose_pods_and_claims_work(settings):
    said: list[str] = []
    result = await standalone.up(settings, said.append)
    assert result.preflight.mode == "hollow" and said
    client = await client_of(settings)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    await client.create(
        CLAIMS,
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
    )  # fmt: skip
    await client.create(
        PODS,
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "busybox"}], "volumes": [volume]},
        },
    )  # fmt: skip
    end = time.monotonic() + 20
    while (await client.get(PODS, "p", "default"))["status"]["phase"] != "Running":
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    assert (await client.get(CLAIMS, "data", "default"))["status"]["phase"] == "Bound"
    assert len(list(settings.places.volumes.iterdir())) == 1
    await client.close()


async def test_a_second_up_keeps_what_runs(settings):
    await standalone.up(settings)
    before = pids(settings)
    again = await standalone.up(settings)
    assert pids(settings) == before and again.seconds < 10


async def test_status_tells_of_programs_and_nodes(settings):
    assert not (await standalone.status(settings)).exists
    await standalone.up(settings)
    found = await standalone.status(settings)
    assert found.ready and found.nodes == (("n", True),) and found.mode == "hollow"
    assert [each.name for each in found.programs if each.pid] == ["supervisor", "control-plane", "node"]
    json.dumps(found.to_object())
    await standalone.down(settings)
    found = await standalone.status(settings)
    assert found.exists and not found.ready and found.problem


async def test_data_outlive_down_and_the_end_of_all_processes(settings):
    await standalone.up(settings)
    await mark(settings)
    assert await standalone.down(settings)
    assert not any(pids(settings).values())
    assert not await standalone.down(settings)
    await standalone.up(settings)
    assert await is_marked(settings)
    for pid in pids(settings).values():
        os.kill(pid, signal.SIGKILL)
    await standalone.up(settings)
    assert await is_marked(settings)


async def test_clean_leaves_no_process_and_no_file(settings):
    await standalone.up(settings)
    before = pids(settings)
    await standalone.clean(settings)
    assert not settings.data_dir.exists()
    for pid in before.values():
        cmdline = Path(f"/proc/{pid}/cmdline")
        assert not cmdline.exists() or str(settings.data_dir).encode() not in cmdline.read_bytes()
    await standalone.clean(settings)


async def test_an_up_that_is_killed_anywhere_can_be_repeated(settings):
    script = (
        "import asyncio; from pathlib import Path; from sublet.machine import standalone as s;"
        f"asyncio.run(s.up(s.StandaloneSettings(Path({str(settings.data_dir)!r}), mode='hollow', "
        f"port={settings.port}, host='127.0.0.1', node_name='n')))"
    )
    for delay in (0.35, 0.5, 0.7, 1.0):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        await asyncio.sleep(delay)
        if process.returncode is None:
            process.kill()
        await process.wait()
    await standalone.up(settings)
    await mark(settings)
    assert await is_marked(settings)
    names = Processes(settings.run_dir).names()
    assert sorted(names) == ["control-plane", "node", "supervisor"]


async def test_a_taken_port_is_named(settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.port))
        taken.listen()
        with pytest.raises(ServiceUnavailable, match=f"{settings.port}.*--port"):
            await standalone.up(settings)


async def test_two_commands_at_once_do_not_meet(settings):
    with exclusive(settings.run_dir / "command.lock", "busy"), pytest.raises(Conflict, match="at work"):
        await standalone.up(settings)


def test_containers_that_cannot_be_are_refused_with_everything_that_is_missing(settings, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    asked = StandaloneSettings(settings.data_dir, mode="containers")
    with pytest.raises(ServiceUnavailable) as refused:
        standalone.preflight(asked)
    for name in ("containerd", "runc", "nft"):
        assert f"apt-get install {'nftables' if name == 'nft' else name}" in refused.value.message
    found = standalone.preflight(StandaloneSettings(settings.data_dir))
    assert found.mode == "hollow" and len(found.missing) >= 3


def test_settings_are_found_again_in_the_directory(settings):
    settings.data_dir.mkdir()
    assert standalone.saved(settings.data_dir) is None
    standalone._save(settings)
    assert standalone.saved(settings.data_dir) == settings
    settings.settings_file.write_text("{")
    with pytest.raises(BadRequest, match=r"standalone\.json"):
        standalone.saved(settings.data_dir)
