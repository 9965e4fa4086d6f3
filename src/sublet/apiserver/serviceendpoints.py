"""Where the pods behind a Service listen, from what the API server itself holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sublet.apiserver.webhookclient import CallFailed
from sublet.machinery.kind import Object

Reader = Callable[[str, str, str, str], Awaitable[Object | None]]
"""(group, plural, namespace, name) -> the object, or None."""
Lister = Callable[[str, str, str], Awaitable[Sequence[Object]]]
"""(group, plural, namespace) -> the objects there."""


class Endpoints:
    """Resolves Services from what the API server itself holds: a ready endpoint, else the ClusterIP."""

    def __init__(self, read: Reader, listed: Lister) -> None:
        self._read = read
        self._listed = listed
        self._turn = 0

    async def resolve(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """An address behind a Service's port. Raises :class:`CallFailed`."""
        service = await self._read("", "services", namespace, name)
        if service is None:
            raise CallFailed(f'service "{name}" not found')
        spec = service.get("spec") or {}
        stated = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
        if spec.get("type") == "ExternalName":
            if not spec.get("externalName"):
                raise CallFailed(f'no external name for service "{name}"')
            return str(spec["externalName"]), port
        if stated is None:
            raise CallFailed(f'no service port {port} found for service "{name}"')
        found = await self._ready(namespace, name, str(stated.get("name") or ""))
        if found:
            self._turn += 1
            return found[self._turn % len(found)]
        address = spec.get("clusterIP") or ""
        if address in ("", "None"):
            raise CallFailed(f'no endpoints available for service "{name}"')
        return str(address), port

    async def ready(self, namespace: str, name: str, port: str) -> bool:
        """Whether anything is ready behind a Service's port of that name."""
        return bool(await self._ready(namespace, name, port))

    async def _ready(self, namespace: str, name: str, port: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for each in await self._listed("discovery.k8s.io", "endpointslices", namespace):
            labels = each["metadata"].get("labels") or {}
            if labels.get("kubernetes.io/service-name") == name and each.get("addressType") != "FQDN":
                found += _addresses(each, port)
        return sorted(set(found))


def _addresses(slice_: Object, port: str) -> list[tuple[str, int]]:
    numbers = [
        int(p["port"])
        for p in slice_.get("ports") or ()
        if str(p.get("name") or "") == port and p.get("port")
    ]
    return [
        (str(address), number)
        for endpoint in slice_.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in (endpoint.get("addresses") or ())[:1]
        for number in numbers
    ]
