"""The pod network of one node: a bridge of its own, addresses from the node's pod range, masquerading, routes.

Done by the CNI plug-ins bridge, host-local, portmap and loopback; masquerading is one nftables table of our own, since
the plug-in's iptables chains would be left behind when a node dies.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sublet.machinery.status import ServiceUnavailable

log = logging.getLogger(__name__)

_ROUTE_PROTOCOL = "213"
"""Marks routes as ours, to find them again."""


@dataclass(frozen=True, slots=True)
class PodNetworkSettings:
    pod_cidr: str
    """The node's own range, such as ``10.244.1.0/24``; the first address is the bridge's."""
    cluster_cidr: str
    """The range of all nodes' pods: traffic within it keeps its source address."""
    conf_dir: Path
    """Where containerd looks for CNI configuration."""
    state_dir: Path
    """Where host-local remembers addresses."""
    bridge: str = "sublet0"
    """Name of the bridge and of the network; one per cluster on a machine; at most 15 characters."""
    mtu: int = 0
    """0: the kernel's."""


class PodNetwork:
    """Sets the pod network of this machine up and takes it down; both may be repeated."""

    def __init__(self, settings: PodNetworkSettings) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", settings.bridge):
            raise ValueError(f"bridge name {settings.bridge!r}: 1-15 lower-case letters, digits and '-'")
        self.settings = settings
        self._range = ipaddress.ip_network(settings.pod_cidr)

    @property
    def gateway(self) -> str:
        """The bridge's address, by which pods reach the node."""
        return str(self._range[1])

    @property
    def table(self) -> str:
        return f"sublet-pods-{self.settings.bridge}"

    def configuration(self) -> dict[str, object]:
        """The CNI network configuration list."""
        settings = self.settings
        bridge: dict[str, object] = {
            "type": "bridge",
            "bridge": settings.bridge,
            "isGateway": True,
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": str(settings.state_dir),
                "ranges": [[{"subnet": settings.pod_cidr}]],
            },
        }
        if settings.mtu:
            bridge["mtu"] = settings.mtu
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        return {"cniVersion": "0.4.0", "name": settings.bridge, "plugins": [bridge, portmap]}

    def setup(self) -> None:
        """Kernel settings, masquerading and the CNI configuration. Raises :class:`ServiceUnavailable`."""
        self._kernel_settings()
        self._masquerade()
        directory = self.settings.conf_dir
        directory.mkdir(parents=True, exist_ok=True)
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        # containerd reads the file as soon as it appears: it must appear whole
        temporary = directory / ".10-sublet.tmp"
        temporary.write_text(json.dumps(self.configuration(), indent=1))
        temporary.rename(directory / "10-sublet.conflist")

    def sync_routes(self, ranges: Mapping[str, str]) -> None:
        """Routes to other nodes' pods: pod range to node address (nodes share a link). Removes stale ones."""
        shown = _run("ip", "-j", "route", "show", "proto", _ROUTE_PROTOCOL).stdout or "[]"
        present = {r["dst"]: r.get("gateway", "") for r in json.loads(shown)}
        mine = ipaddress.ip_network(self.settings.cluster_cidr)
        for destination, gateway in ranges.items():
            if destination != self.settings.pod_cidr and present.get(destination) != gateway:
                done = _run("ip", "route", "replace", destination, "via", gateway, "proto", _ROUTE_PROTOCOL)
                if done.returncode:
                    log.warning("no route to %s via %s: %s", destination, gateway, done.stderr.strip())
        for destination in present:
            stale = destination not in ranges
            if stale and ipaddress.ip_network(destination).subnet_of(mine):  # type: ignore[arg-type]
                _run("ip", "route", "del", destination, "proto", _ROUTE_PROTOCOL)

    def teardown(self) -> None:
        """Removes bridge, links, routes, rules and remembered addresses. Pods should be gone before."""
        self.sync_routes({})
        bridge = self.settings.bridge
        shown = _run("ip", "-j", "link", "show", "master", bridge).stdout
        for link in json.loads(shown or "[]"):
            _run("ip", "link", "del", link["ifname"])
        _run("ip", "link", "del", bridge)
        _run("nft", "delete", "table", "ip", self.table)
        self._remove_host_ports()
        for directory in (self.settings.state_dir, self.settings.conf_dir):
            shutil.rmtree(directory, ignore_errors=True)
        # libcni's cache of results, which has one fixed place
        for file in Path("/var/lib/cni/results").glob(f"{bridge}-*"):
            file.unlink(missing_ok=True)
        for directory in (Path("/var/lib/cni/results"), Path("/var/lib/cni")):
            try:
                directory.rmdir()
            except OSError:
                continue

    def _kernel_settings(self) -> None:
        _sysctl("net/ipv4/ip_forward", "1", required=True)
        # bridged pod-to-pod traffic must pass netfilter, or Services fail between pods of one node
        _sysctl("net/bridge/bridge-nf-call-iptables", "1", required=False)

    def _masquerade(self) -> None:
        if not shutil.which("nft"):
            raise ServiceUnavailable("nft is missing (apt-get install nftables)")
        settings = self.settings
        rules = (
            f"table ip {self.table}\ndelete table ip {self.table}\n"
            f"table ip {self.table} {{\n chain postrouting {{\n"
            "  type nat hook postrouting priority srcnat; policy accept;\n"
            f"  ip saddr {settings.pod_cidr} ip daddr != {settings.cluster_cidr} "
            f'oifname != "{settings.bridge}" masquerade\n }}\n}}\n'
        )
        done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise ServiceUnavailable(f"cannot set up masquerading with nft: {done.stderr.strip()}")

    def _remove_host_ports(self) -> None:
        """Removes portmap's chains of this network that no CNI DEL removed, and its top chains when empty."""
        saved = _run("iptables-save", "-t", "nat").stdout
        ours = set(
            re.findall(rf'-A CNI-HOSTPORT-DNAT .*name: \\?"{self.settings.bridge}\\?".*-j (\S+)', saved)
        )
        for line in saved.splitlines():
            if line.startswith("-A CNI-HOSTPORT-DNAT") and line.split()[-1] in ours:
                subprocess.run(f"iptables -t nat -D {line[3:]}", shell=True, capture_output=True, timeout=20)
        for chain in ours:
            _run("iptables", "-t", "nat", "-F", chain)
            _run("iptables", "-t", "nat", "-X", chain)
        saved = _run("iptables-save", "-t", "nat").stdout
        if "-A CNI-HOSTPORT-DNAT " in saved or "CNI-HOSTPORT" not in saved:
            return
        for line in saved.splitlines():
            if (
                line.startswith(("-A PREROUTING", "-A OUTPUT", "-A POSTROUTING"))
                and "-j CNI-HOSTPORT" in line
            ):
                subprocess.run(f"iptables -t nat -D {line[3:]}", shell=True, capture_output=True, timeout=20)
        for chain in ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"):
            _run("iptables", "-t", "nat", "-F", chain)
            _run("iptables", "-t", "nat", "-X", chain)
        for family in ("ip", "ip6"):
            if _is_empty_iptables(_run("nft", "list", "table", family, "nat").stdout):
                _run("nft", "delete", "table", family, "nat")


def _is_empty_iptables(table: str) -> bool:
    """Whether nothing but empty base chains is left of iptables' nat table."""
    rules = [
        line for line in table.splitlines()
        if line.strip() and not line.strip().startswith(("table", "chain", "type", "}", "#"))
    ]  # fmt: skip
    return (
        bool(table)
        and not rules
        and len(re.findall(r"chain (\S+)", table))
        == len(re.findall(r"chain (?:PREROUTING|INPUT|OUTPUT|POSTROUTING) ", table))
    )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _sysctl(name: str, value: str, *, required: bool) -> None:
    file = Path("/proc/sys") / name
    try:
        if file.read_text().strip() != value:
            file.write_text(value)
    except OSError as error:
        if required:
            raise ServiceUnavailable(
                f"cannot set {name.replace('/', '.')}={value}: {error.strerror}"
            ) from None
        log.info("%s is not there: %s", name, error.strerror)
