"""Ports of NodePort and LoadBalancer Services: every number belongs to one Service (reference B.21)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sublet.apiserver import stored
from sublet.apiserver.registry import Registry
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import internal_error, invalid, invalid_object


class NodePorts:
    """What is free is read off the Services there are, plus what is promised to writes in flight."""

    def __init__(self, registry: Registry, ports: tuple[int, int]) -> None:
        self.registry = registry
        self.first, self.last = ports
        self._promised: set[int] = set()

    def taken(self, but: Object) -> set[int]:
        """All ports of Services other than ``but``."""
        kind = self.registry.kinds.stored("", "services")
        found = set(self._promised)
        if kind is None:
            return found
        own = stored.key(kind.resource, objects.namespace(but), objects.name(but))
        for entry in self.registry.cache(kind).entries():
            if entry.key != own:
                found.update(ports_of(entry.object))
        return found

    def fill(self, service: Object, old: Object | None, *, choose: bool) -> list[int]:
        """Checks the ports a Service asks for and may ``choose`` those it leaves open; returns all it now has.

        ``old``: what the Service was; it keeps what it had. Raises Invalid for the first port that cannot be had,
        InternalError if none is free.
        """
        ports: Sequence[Object] = service["spec"].get("ports") or ()
        had, taken = set(_numbers((old or {}).get("spec") or {})), self.taken(service) | set(ports_of(old))
        asked = {port["nodePort"] for port in ports if port.get("nodePort")}
        mine: set[int] = set()
        shared: dict[int, int] = {}
        for index, port in enumerate(ports):
            number = port.get("nodePort") or 0
            if not number and not choose:
                continue
            if old is None:
                first = port["port"] not in shared
                number = _of_siblings(ports, port["port"]) if first else number or shared[port["port"]]
            elif number in mine:
                continue  # one number for several protocols
            if not number:
                number = self._free(taken | asked | mine)
                if not number:
                    raise internal_error("failed to allocate a nodePort: range is full")
            elif number not in had and number != shared.get(port["port"]):
                self._check(service, index, number, taken | mine)
            port["nodePort"] = number
            shared.setdefault(port["port"], number)
            mine.add(number)
        return sorted(mine)

    def _check(self, service: Object, index: int, number: int, taken: set[int]) -> None:
        if why := self._unavailable(number, taken):
            error = invalid(f"spec.ports[{index}].nodePort", number, why)
            raise invalid_object("", "Service", objects.name(service), [error])

    def health_check(self, service: Object, old: Object | None) -> list[int]:
        """The port on which nodes say whether they have endpoints; filled in where it is missing.

        ``old``: what the Service was. Raises InternalError if a port cannot be had.
        """
        spec = service["spec"]
        port = int(spec.get("healthCheckNodePort") or 0)
        had = int(((old or {}).get("spec") or {}).get("healthCheckNodePort") or 0)
        if port and port == had:
            return [port]
        taken = self.taken(service) | set(ports_of(old)) | set(_numbers(spec))
        if port:
            if why := self._unavailable(port, taken):
                raise internal_error(f"failed to allocate requested HealthCheck NodePort {port}: {why}")
            return [port]
        port = self._free(taken)
        if not port:
            raise internal_error("failed to allocate a HealthCheck NodePort 0: range is full")
        spec["healthCheckNodePort"] = port
        return [port]

    def _unavailable(self, port: int, taken: set[int]) -> str:
        if not self.first <= port <= self.last:
            valid = f"{self.first}-{self.last}"
            return f"provided port is not in the valid range. The range of valid ports is {valid}"
        return "provided port is already allocated" if port in taken else ""

    async def caught_up(self) -> None:
        """Returns once every Service stored so far shows in the cache."""
        kind = self.registry.kinds.stored("", "services")
        if kind is not None:
            await self.registry.fresh(kind)

    def promise(self, ports: Iterable[int]) -> None:
        self._promised.update(ports)

    def forget(self, ports: Iterable[int]) -> None:
        self._promised.difference_update(ports)

    def _free(self, taken: set[int]) -> int:
        """A port at random above the band that people choose from by hand, else any."""
        size = self.last - self.first + 1
        band = min(max(16, size // 32), 128) if size > 16 else 0
        for _ in range(64):
            port = self.registry.rng.randint(self.first + band, self.last)
            if port not in taken:
                return port
        return next((port for port in range(self.first, self.last + 1) if port not in taken), 0)


def _of_siblings(ports: Sequence[Object], number: int) -> int:
    """The node port asked for by any entry of a port: other protocols of a new Service share it."""
    return next((port["nodePort"] for port in ports if port["port"] == number and port.get("nodePort")), 0)


def ports_of(service: Object | None) -> Iterator[int]:
    """Every node port that a Service holds."""
    spec = (service or {}).get("spec") or {}
    yield from _numbers(spec)
    if spec.get("healthCheckNodePort"):
        yield int(spec["healthCheckNodePort"])


def _numbers(spec: Object) -> Iterator[int]:
    """The node ports of a Service's own ports."""
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield int(port["nodePort"])
