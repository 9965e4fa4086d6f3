"""The pod network of a node as a worker: set up once the node has a range, routes to the other nodes kept current."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import subprocess
from pathlib import Path

from sublet.client.client import Client
from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machine.names import NodePlaces
from sublet.machine.podnetwork import PodNetwork, PodNetworkSettings
from sublet.machine.processes import write_whole
from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable

log = logging.getLogger(__name__)

_RETRY = 5.0


class NetworkWorker:
    """``set_range`` is what the node agent calls; ``ready`` is set once pods can have addresses."""

    def __init__(self, places: NodePlaces, node_ip: str, cluster_cidr: str) -> None:
        self._places = places
        self._node_ip = node_ip
        self._cluster_cidr = cluster_cidr
        self._range = ""
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()

    def set_range(self, pod_cidr: str) -> None:
        self._range = pod_cidr
        self._changed.set()

    @property
    def gateway(self) -> str:
        """The node's address within the pod network; only once ``ready``."""
        return self._network().gateway

    def _network(self) -> PodNetwork:
        return network_of(self._places, self._range, self._cluster_cidr)

    async def run(self, client: Client) -> None:
        """Works until cancelled."""
        nodes = Informer(client, resource("nodes"))
        nodes.add_handler(self._node_changed)
        following = asyncio.create_task(nodes.run())
        try:
            await nodes.synced()
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._range:
                    await self._sync(nodes)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _node_changed(self, event: str, node: Object, old: Object | None) -> None:
        if event == "delete" or old is None or _reach(node) != _reach(old):
            self._changed.set()

    async def _sync(self, nodes: Informer) -> None:
        # a second node on this machine has its bridge here: a route would only hide it
        others = {
            cidr: address
            for cidr, address in map(_reach, nodes.list())
            if cidr and address not in ("", self._node_ip)
        }
        network = self._network()
        try:
            if not self.ready.is_set():
                await asyncio.to_thread(self._setup, network)
            await asyncio.to_thread(network.sync_routes, others)
        except ServiceUnavailable as error:
            log.error("the pod network cannot be set up: %s", error.message)
            await asyncio.sleep(_RETRY)
            self._changed.set()
            return
        self.ready.set()

    def _setup(self, network: PodNetwork) -> None:
        ranges = {"podCIDR": self._range, "clusterCIDR": self._cluster_cidr}
        write_whole(self._places.network_file, json.dumps(ranges))
        ensure_bridge(self._places.bridge, network.gateway, self._range)
        network.setup()


def network_of(places: NodePlaces, pod_cidr: str, cluster_cidr: str) -> PodNetwork:
    return PodNetwork(
        PodNetworkSettings(
            pod_cidr, cluster_cidr, places.containerd.cni_conf_dir, places.addresses, places.bridge
        )
    )


def known_network(places: NodePlaces) -> PodNetwork | None:
    """The network that was set up here, by what is written of it."""
    try:
        found = json.loads(places.network_file.read_text())
        return network_of(places, found["podCIDR"], found["clusterCIDR"])
    except (OSError, ValueError, KeyError):
        return None


def ensure_bridge(bridge: str, gateway: str, pod_cidr: str) -> None:
    """The bridge with the gateway's address, there before the first pod: the cluster's DNS listens on it.

    Its hardware address is set, since a bridge without one changes it with every pod that comes or goes.
    """
    hardware = "02:" + ":".join(f"{byte:02x}" for byte in hashlib.sha256(bridge.encode()).digest()[:5])
    address = f"{gateway}/{pod_cidr.rpartition('/')[2]}"
    for command, harmless in (
        (["ip", "link", "add", bridge, "address", hardware, "type", "bridge"], "File exists"),
        (["ip", "address", "add", address, "dev", bridge], "already assigned"),
        (["ip", "link", "set", bridge, "up"], ""),
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode and not (harmless and (harmless in done.stderr or "File exists" in done.stderr)):
            raise ServiceUnavailable(f"cannot make the bridge {bridge}: {done.stderr.strip()}")


def allow_loopback_sources(bridge: str) -> None:
    """Lets node ports answer on 127.0.0.1. Only once the service proxy's rules keep pods from misusing it."""
    file = Path("/proc/sys/net/ipv4/conf") / bridge / "route_localnet"
    try:
        file.write_text("1")
    except OSError as error:
        log.info("node ports do not answer on 127.0.0.1: %s", error.strerror)


def _reach(node: Object) -> tuple[str, str]:
    """A node's pod range and address."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    internal = next((each["address"] for each in addresses if each.get("type") == "InternalIP"), "")
    return (node.get("spec") or {}).get("podCIDR") or "", internal
