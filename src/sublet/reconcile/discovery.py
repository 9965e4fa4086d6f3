"""What the API serves right now, custom resources and aggregated APIs included: for controllers that act on every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.machinery import codec
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Resource
from sublet.machinery.status import NotFound, ServiceUnavailable

_ACCEPT = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@dataclass(frozen=True)
class Discovered:
    """One resource in its preferred version, with the verbs it answers."""

    resource: Resource
    verbs: frozenset[str]
    scales: bool = False
    """Whether it has the subresource ``scale``."""


@dataclass(frozen=True)
class Discovery:
    """All resources, each once; ``failed`` names group versions that could not be asked (``metrics.k8s.io/v1beta1``)."""

    resources: tuple[Discovered, ...]
    failed: tuple[str, ...] = ()

    def with_verbs(self, *verbs: str) -> list[Resource]:
        wanted = frozenset(verbs)
        return [found.resource for found in self.resources if wanted <= found.verbs]


async def discover(client: Client) -> Discovery:
    """Asks ``/api`` and ``/apis``, in aggregated form where served. Raises ``StatusError``."""
    resources: dict[tuple[str, str], Discovered] = {}
    failed: list[str] = []
    for path in ("/api", "/apis"):
        document = await _document(client, path)
        if document.get("kind") == "APIGroupDiscoveryList":
            _aggregated(document, resources, failed)
        else:
            await _legacy(client, path, document, resources, failed)
    return Discovery(tuple(resources.values()), tuple(failed))


_KINDS_FOR = 60.0
"""Seconds for which what was discovered is believed."""


class Kinds:
    """Which resource serves a kind: for controllers whose objects name others of any kind, custom ones included."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str], Discovered] = {}
        self._until = 0.0

    async def resource_of(self, api_version: str, kind: str) -> Resource:
        """In the group's preferred version, whichever was asked for. Raises ``NotFound``, ``StatusError``."""
        return (await self.find(api_version, kind)).resource

    async def find(self, api_version: str, kind: str) -> Discovered:
        """Raises ``NotFound`` for a kind that is not served, ``StatusError`` where nothing can be asked."""
        group = api_version.rpartition("/")[0]
        now = self._clock.monotonic()
        if (group, kind) not in self._known or now > self._until:
            discovery = await discover(self._client)
            self._known = {(f.resource.group, f.resource.kind): f for f in discovery.resources}
            self._until = now + _KINDS_FOR
        found = self._known.get((group, kind))
        if found is None:
            raise NotFound(f'no matches for kind "{kind}" in group "{group}"')
        return found


async def _document(client: Client, path: str) -> Any:
    response = await client.raw("GET", path, headers={"accept": _ACCEPT})
    if response.status != 200 or not isinstance(response.body, bytes):
        raise ServiceUnavailable(f"discovery: GET {path} answered {response.status}")
    return codec.decode_json(response.body)


def _aggregated(document: Any, into: dict[tuple[str, str], Discovered], failed: list[str]) -> None:
    for group in document.get("items") or ():
        name = (group.get("metadata") or {}).get("name", "")
        for version in group.get("versions") or ():
            if version.get("freshness") == "Stale":
                failed.append(f"{name}/{version['version']}" if name else version["version"])
                continue
            for entry in version.get("resources") or ():
                if not (kind := (entry.get("responseKind") or {}).get("kind")):
                    continue
                scope = entry.get("scope") == "Namespaced"
                resource = Resource(name, version["version"], entry["resource"], kind, scope)
                scales = any(sub.get("subresource") == "scale" for sub in entry.get("subresources") or ())
                _keep(into, Discovered(resource, frozenset(entry.get("verbs") or ()), scales))


async def _legacy(
    client: Client,
    path: str,
    document: Mapping[str, Any],
    into: dict[tuple[str, str], Discovered],
    failed: list[str],
) -> None:
    if path == "/api":
        versions = [("", version) for version in document.get("versions") or ()]
    else:
        versions = [
            (group["name"], version["version"])
            for group in document.get("groups") or ()
            for version in _preferred_first(group)
        ]
    for group_name, version in versions:
        group_version = f"{group_name}/{version}" if group_name else version
        try:
            listed = await _document(client, f"{path}/{group_version}")
        except ServiceUnavailable:
            failed.append(group_version)
            continue
        names = {entry["name"] for entry in listed.get("resources") or ()}
        for entry in listed.get("resources") or ():
            if "/" not in entry["name"]:
                resource = Resource(
                    group_name, version, entry["name"], entry["kind"], bool(entry["namespaced"])
                )
                scales = f"{entry['name']}/scale" in names
                _keep(into, Discovered(resource, frozenset(entry.get("verbs") or ()), scales))


def _preferred_first(group: Mapping[str, Any]) -> list[Any]:
    preferred = (group.get("preferredVersion") or {}).get("version")
    return sorted(group.get("versions") or (), key=lambda version: version["version"] != preferred)


def _keep(into: dict[tuple[str, str], Discovered], found: Discovered) -> None:
    into.setdefault((found.resource.group, found.resource.plural), found)
