"""Takes a node off a machine: its pods and processes, and, if wanted, everything it ever made."""

from __future__ import annotations

import asyncio
import logging
import shutil

from sublet.machine import leftovers
from sublet.machine.containerd import Containerd
from sublet.machine.names import NodePlaces
from sublet.machine.network import known_network
from sublet.machinery.status import ServiceUnavailable
from sublet.netproxy.proxy import teardown
from sublet.netproxy.rules import ProxySettings

log = logging.getLogger(__name__)


async def stop_node(places: NodePlaces) -> None:
    """Ends pods, containerd and network; files stay, so that the next start finds images and volumes again."""
    if not places.containerd.directory.exists():
        return  # no node, or a hollow one, which makes nothing but files
    containerd = Containerd(places.containerd)
    if containerd.running_pid() is not None:
        await _stop_pods(containerd)
    await containerd.stop()
    await leftovers.remove_processes(places.containerd.socket, places.cgroup_root)
    leftovers.unmount_below(places.directory)
    leftovers.remove_cgroups(places.cgroup_root)
    leftovers.remove_empty_shim_directories()
    await _remove_network(places)


async def remove_node(places: NodePlaces) -> None:
    """Removes the directory too."""
    if not places.directory.exists():
        return
    await stop_node(places)
    await asyncio.to_thread(shutil.rmtree, places.directory, ignore_errors=True)


async def _stop_pods(containerd: Containerd) -> None:
    """Through CRI, so that the CNI plug-ins undo what they did."""
    from sublet.node.cri import CRI

    cri = CRI(str(containerd.settings.socket))
    try:
        for sandbox in await cri.sandboxes():
            await cri.stop_sandbox(sandbox.id)
    except ServiceUnavailable as error:
        log.warning("ending pods without containerd's help: %s", error.message)
    finally:
        await cri.close()


async def _remove_network(places: NodePlaces) -> None:
    network = known_network(places)
    if network is not None:
        await asyncio.to_thread(network.teardown)
    try:
        await teardown(ProxySettings(places.cluster, "").table)
    except ServiceUnavailable as error:
        log.warning("the rules of Services could not be removed: %s", error.message)
