"""The private containerd of a machine: starts, is adopted, comes back after the worst, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sublet.machine import leftovers
from sublet.machine.containerd import Containerd, ContainerdSettings, missing
from sublet.machine.images import base_images
from sublet.machine.podnetwork import PodNetwork, PodNetworkSettings
from sublet.node import crimessages as m
from sublet.node.cri import CRI

_LACKING = "; ".join(missing(ContainerdSettings(Path("/tmp/x"))))
pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(bool(_LACKING), reason=f"real containers need: {_LACKING}"),
]
CGROUP = f"/sublet-machine-{os.getpid()}"
BRIDGE = f"sbm{os.getpid() % 1000}"


@pytest.fixture
async def settings() -> AsyncIterator[ContainerdSettings]:
    directory = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    made = ContainerdSettings(directory / "c", cgroup_root=CGROUP)
    yield made
    await Containerd(made).teardown()
    network(made).teardown()
    shutil.rmtree(directory, ignore_errors=True)


def network(settings: ContainerdSettings) -> PodNetwork:
    ours = f"10.214.{os.getpid() % 200}.0/24"
    return PodNetwork(
        PodNetworkSettings(ours, ours, settings.cni_conf_dir, settings.directory.parent / "ipam", BRIDGE)
    )


async def run_pod(settings: ContainerdSettings) -> str:
    """A sandbox with a host port and one container that sleeps; gives the container's id."""
    archive = settings.directory / "images.tar"
    archive.write_bytes(base_images())
    await Containerd(settings).import_image(archive)
    cri = CRI(str(settings.socket))
    config = m.PodSandboxConfig(
        metadata=m.PodSandboxMetadata("p", "u", "d", 0),
        hostname="p",
        log_directory=str(settings.directory / "logs"),
        port_mappings=[m.PortMapping(m.TCP, 80, 28499)],
        linux=m.LinuxPodSandboxConfig(cgroup_parent=f"{CGROUP}/podu"),
    )
    try:
        for _ in range(100):
            status = (await cri.status()).status
            if status is not None and all(c.status for c in status.conditions):
                break
            await asyncio.sleep(0.05)
        sandbox = await cri.run_sandbox(config)
        container = await cri.create_container(
            sandbox,
            m.ContainerConfig(
                metadata=m.ContainerMetadata("c"), image=m.ImageSpec("busybox"), command=["sleep", "1000"],
                log_path="c.log",
            ),
            config,
        )  # fmt: skip
        await cri.start_container(container)
        return container
    finally:
        await cri.close()


async def state(settings: ContainerdSettings, container: str) -> int:
    cri = CRI(str(settings.socket))
    try:
        status = (await cri.container_status(container)).status
        assert status is not None
        return status.state
    finally:
        await cri.close()


def assert_nothing_left(settings: ContainerdSettings) -> None:
    assert not settings.directory.exists()
    assert leftovers.shims(settings.socket) == []
    assert leftovers.mounts_below(settings.directory) == []
    assert list(leftovers.cgroup_directories(CGROUP)) == []
    assert not Path(f"/sys/class/net/{BRIDGE}").exists()
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert BRIDGE not in rules
    assert "28499" not in rules


async def test_a_second_start_adopts_the_running_daemon(settings: ContainerdSettings) -> None:
    first, second = Containerd(settings), Containerd(settings)
    await first.start()
    await second.start()
    assert second.running_pid() == first.running_pid()
    await second.stop()
    assert first.running_pid() is None


async def test_containers_outlive_a_killed_daemon(settings: ContainerdSettings) -> None:
    daemon, net = Containerd(settings), network(settings)
    await daemon.start()
    net.setup()
    container = await run_pod(settings)
    pid = daemon.running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await daemon.stop()
    await daemon.start()
    assert await state(settings, container) == m.RUNNING
    await daemon.teardown()
    net.teardown()
    assert_nothing_left(settings)


async def test_teardown_removes_what_a_dead_machine_left(settings: ContainerdSettings) -> None:
    """All processes are gone, as after a power cut; mounts, cgroups, links and rules are still there."""
    daemon, net = Containerd(settings), network(settings)
    await daemon.start()
    net.setup()
    await run_pod(settings)
    pid = daemon.running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await leftovers.remove_processes(settings.socket, CGROUP)
    settings.config_file.unlink()
    shutil.rmtree(settings.directory / "root" / "io.containerd.metadata.v1.bolt")
    await daemon.teardown()
    net.teardown()
    assert_nothing_left(settings)


async def test_a_daemon_that_cannot_start_says_why(settings: ContainerdSettings) -> None:
    settings.directory.mkdir(parents=True)
    (settings.directory / "root").write_text("in the way")
    with pytest.raises(Exception, match="containerd ended at once") as caught:
        await Containerd(settings).start()
    assert "not a directory" in str(caught.value)
