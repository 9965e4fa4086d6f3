"""Ports of NodePort and LoadBalancer Services, unique in the cluster per protocol (reference B.21)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sublet.apiserver import stored
from sublet.apiserver.registry import Registry
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import internal_error, invalid, invalid_object

Port = tuple[str, int]
"""(protocol, number)."""


class NodePorts:
    """What is free is read off the Services there are, plus what is promised to writes in flight."""

    def __init__(self, registry: Registry, ports: tuple[int, int]) -> None:
        self._registry = registry
        self.first, self.last = ports
        self._promised: set[Port] = set()

    def taken(self, but: Object) -> set[Port]:
        """All ports of Services other than ``but``."""
        kind = self._registry.kinds.stored("", "services")
        found = set(self._promised)
        if kind is None:
            return found
        own = stored.key(kind.resource, objects.namespace(but), objects.name(but))
        for entry in self._registry.cache(kind).entries():
            if entry.key != own:
                found.update(ports_of(entry.object))
        return found

    def fill(self, service: Object, kept: set[Port], *, choose: bool) -> list[Port]:
        """Checks the ports a Service asks for and may ``choose`` those it leaves open; returns all it now has.

        ``kept``: what it has already. Raises Invalid for the first port that cannot be had,
        InternalError if none is free.
        """
        taken = self.taken(service)
        ports = service["spec"].get("ports") or ()
        mine: list[Port] = []
        for index, port in enumerate(ports):
            number, protocol = port.get("nodePort"), port.get("protocol") or "TCP"
            if not number:
                continue
            if (protocol, number) not in kept and (why := self._unavailable((protocol, number), taken)):
                error = invalid(f"spec.ports[{index}].nodePort", number, why)
                raise invalid_object("", "Service", objects.name(service), [error])
            mine.append((protocol, number))
        for port in ports if choose else ():
            if not port.get("nodePort"):
                protocol = port.get("protocol") or "TCP"
                number = self._sibling(service, port, protocol) or self._free(taken | set(mine), protocol)
                if not number:
                    raise internal_error("failed to allocate a nodePort: range is full")
                port["nodePort"] = number
                mine.append((protocol, number))
        return mine

    def health_check(self, service: Object, kept: set[Port]) -> list[Port]:
        """The port on which nodes say whether they have endpoints; filled in where it is missing.

        ``kept``: what the Service has already. Raises InternalError if a port cannot be had.
        """
        spec = service["spec"]
        taken = self.taken(service)
        port: Port = ("TCP", int(spec.get("healthCheckNodePort") or 0))
        if port[1]:
            if port not in kept and (why := self._unavailable(port, taken)):
                raise internal_error(f"failed to allocate requested HealthCheck NodePort {port[1]}: {why}")
            return [port]
        number = self._free(taken | set(ports_of(service)), "TCP")
        if not number:
            raise internal_error("failed to allocate a HealthCheck NodePort 0: range is full")
        spec["healthCheckNodePort"] = number
        return [("TCP", number)]

    def _unavailable(self, wanted: Port, taken: set[Port]) -> str:
        if not self.first <= wanted[1] <= self.last:
            valid = f"{self.first}-{self.last}"
            return f"provided port is not in the valid range. The range of valid ports is {valid}"
        return "provided port is already allocated" if wanted in taken else ""

    async def caught_up(self) -> None:
        """Returns once every Service stored so far shows in the cache."""
        kind = self._registry.kinds.stored("", "services")
        if kind is not None:
            await self._registry.fresh(kind)

    def promise(self, ports: list[Port]) -> None:
        self._promised.update(ports)

    def forget(self, ports: list[Port]) -> None:
        self._promised.difference_update(ports)

    def _sibling(self, service: Object, wanted: dict[str, Any], protocol: str) -> int:
        """The same port number under another protocol keeps one node port for both."""
        for other in service["spec"].get("ports") or ():
            same = other.get("port") == wanted.get("port") and (other.get("protocol") or "TCP") != protocol
            if same and other.get("nodePort") and (protocol, other["nodePort"]) not in self.taken(service):
                return int(other["nodePort"])
        return 0

    def _free(self, taken: set[Port], protocol: str) -> int:
        """A port at random above the band that people choose from by hand, else any."""
        size = self.last - self.first + 1
        band = min(max(16, size // 32), 128) if size > 16 else 0
        for _ in range(64):
            port = self._registry.rng.randint(self.first + band, self.last)
            if (protocol, port) not in taken:
                return port
        return next((p for p in range(self.first, self.last + 1) if (protocol, p) not in taken), 0)


def ports_of(service: Object | None) -> Iterator[Port]:
    """Every node port that a Service holds."""
    spec = (service or {}).get("spec") or {}
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port.get("protocol") or "TCP", int(port["nodePort"])
    if spec.get("healthCheckNodePort"):
        yield "TCP", int(spec["healthCheckNodePort"])
