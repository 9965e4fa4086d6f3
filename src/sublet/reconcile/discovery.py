"""What the API serves right now, custom resources and aggregated APIs included: for controllers that act on every kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.machinery import codec
from sublet.machinery.kind import Resource
from sublet.machinery.status import ServiceUnavailable

_ACCEPT = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@dataclass(frozen=True)
class Discovered:
    """One resource in its preferred version, with the verbs it answers."""

    resource: Resource
    verbs: frozenset[str]


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
                _keep(into, resource, entry.get("verbs") or ())


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
        for entry in listed.get("resources") or ():
            if "/" not in entry["name"]:
                resource = Resource(
                    group_name, version, entry["name"], entry["kind"], bool(entry["namespaced"])
                )
                _keep(into, resource, entry.get("verbs") or ())


def _preferred_first(group: Mapping[str, Any]) -> list[Any]:
    preferred = (group.get("preferredVersion") or {}).get("version")
    return sorted(group.get("versions") or (), key=lambda version: version["version"] != preferred)


def _keep(into: dict[tuple[str, str], Discovered], resource: Resource, verbs: Iterable[str]) -> None:
    into.setdefault((resource.group, resource.plural), Discovered(resource, frozenset(verbs)))
