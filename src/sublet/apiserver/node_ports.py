"""Ports of NodePort and LoadBalancer Services, unique in the cluster per protocol (reference B.21)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sublet.apiserver import stored
from sublet.apiserver.registry import Registry
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, invalid

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
                found.update(port for _, port in ports_of(entry.object))
        return found

    def fill(self, service: Object, errors: list[FieldError]) -> list[Port]:
        """Checks the ports a Service asks for and chooses those it leaves open; returns all it now has."""
        taken = self.taken(service)
        mine: list[Port] = []
        for path, port in ports_of(service):
            if not self.first <= port[1] <= self.last:
                errors.append(
                    invalid(
                        path, port[1],
                        "provided port is not in the valid range. The range of valid ports is "
                        f"{self.first}-{self.last}",
                    )
                )  # fmt: skip
            elif port in taken:
                errors.append(invalid(path, port[1], "provided port is already allocated"))
            else:
                mine.append(port)
        if errors:
            return mine
        for index, port_spec in enumerate(service["spec"].get("ports") or ()):
            if not port_spec.get("nodePort"):
                protocol = port_spec.get("protocol") or "TCP"
                number = self._sibling(service, port_spec, protocol) or self._free(
                    taken | set(mine), protocol
                )
                if not number:
                    errors.append(invalid(f"spec.ports[{index}].nodePort", 0, "range is full"))
                    break
                port_spec["nodePort"] = number
                mine.append((protocol, number))
        return mine

    def health_check(self, service: Object, errors: list[FieldError]) -> list[Port]:
        """The port on which nodes say whether they have endpoints; filled in where it is missing."""
        spec = service["spec"]
        port = int(spec.get("healthCheckNodePort") or 0)
        taken = self.taken(service)
        if port:
            if ("TCP", port) in taken:
                errors.append(invalid("spec.healthCheckNodePort", port, "provided port is already allocated"))
            return [("TCP", port)]
        port = self._free(taken | {p for _, p in ports_of(service)}, "TCP")
        if not port:
            errors.append(invalid("spec.healthCheckNodePort", 0, "range is full"))
            return []
        spec["healthCheckNodePort"] = port
        return [("TCP", port)]

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


def ports_of(service: Object) -> Iterator[tuple[str, Port]]:
    """(field path, port) of every node port that a Service holds."""
    spec = service.get("spec") or {}
    for index, port in enumerate(spec.get("ports") or ()):
        if port.get("nodePort"):
            yield f"spec.ports[{index}].nodePort", (port.get("protocol") or "TCP", int(port["nodePort"]))
    if spec.get("healthCheckNodePort"):
        yield "spec.healthCheckNodePort", ("TCP", int(spec["healthCheckNodePort"]))
