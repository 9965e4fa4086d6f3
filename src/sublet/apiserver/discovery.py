"""Discovery documents: which groups, versions and resources there are, in the legacy and the aggregated form (B.2).

Everything derives from the :class:`KindSet`; documents are made when asked for and kept until the set changes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from sublet.apiserver import negotiation
from sublet.apiserver.kindset import KindSet
from sublet.machinery import codec
from sublet.machinery.kind import Kind, Object, Resource, Subresource

AGGREGATED = "apidiscovery.k8s.io"
_PRIORITIES: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "": (18000, {"v1": 1}), "apps": (17800, {}), "events.k8s.io": (17750, {}), "authentication.k8s.io": (17700, {}),
    "authorization.k8s.io": (17600, {}), "autoscaling": (17500, {"v2": 30}), "batch": (17400, {}),
    "certificates.k8s.io": (17300, {}), "networking.k8s.io": (17200, {"v1beta1": 9}), "policy": (17100, {}),
    "rbac.authorization.k8s.io": (17000, {}), "storage.k8s.io": (16800, {"v1beta1": 9}), "apiextensions.k8s.io": (16700, {}),
    "admissionregistration.k8s.io": (16700, {"v1beta1": 12, "v1alpha1": 9}), "scheduling.k8s.io": (16600, {}), "coordination.k8s.io": (16500, {}),
    "node.k8s.io": (16300, {}), "discovery.k8s.io": (16200, {}), "resource.k8s.io": (16200, {"v1": 20, "v1beta2": 15}),
    "flowcontrol.apiserver.k8s.io": (16100, {"v1": 21}), "storagemigration.k8s.io": (15800, {}),
}  # fmt: skip
"""Group -> (its priority, that of its versions where it is not the usual)."""
_FIRST = "apiregistration.k8s.io"
"""The group that the aggregator itself serves: it stands before all others, and no APIService tells of it."""
CUSTOM_PRIORITY = 1000
_USUAL_VERSION = 15
_VERSION_PRIORITY = 100
"""Of every version that this server itself serves, where another server serves one of the group too."""
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STABILITY = {None: 3, "beta": 2, "alpha": 1}


def version_order(version: str) -> tuple[int, int, int, str]:
    """A sort key that puts the most preferred version first: GA, beta, alpha, each higher number first."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (0, 0, 0, version)
    major, stability, minor = match.groups()
    return (-_STABILITY[stability], -int(major), -int(minor or 0), version)


def group_order(group: str) -> tuple[int, str]:
    """A sort key for groups: by priority, then by name."""
    return -_priority(group), group


def _priority(group: str) -> int:
    return 20000 if group == _FIRST else _PRIORITIES.get(group, (CUSTOM_PRIORITY, {}))[0]


def built_in_priorities(group: str, version: str) -> tuple[int, int] | None:
    """(priority of the group, of the version) that the APIService of built-in resources states; None: it has none."""
    if group == _FIRST:
        return None
    priority, versions = _PRIORITIES[group]
    return priority, versions.get(version, _USUAL_VERSION)


def storage_version_hash(stored: Resource) -> str:
    """By which clients see that objects of two versions or resources are stored as one."""
    text = f"{stored.group}/{stored.version}/{stored.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


class Foreign(Struct, frozen=True):
    """A group and version that another API server serves."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: tuple[Object, ...]
    """As aggregated discovery lists them."""
    current: bool
    """False: it does not answer, and ``resources`` are what it had when it did."""


class Discovery:
    """Discovery documents of one API server, as JSON-shaped values and (aggregated) as bytes with their ETag."""

    def __init__(self, kinds: KindSet) -> None:
        self._kinds = kinds
        self._made: dict[str, Any] = {}
        self._generation = 0
        self._foreign: dict[tuple[str, str], Foreign] = {}

    def set_foreign(self, foreign: Iterable[Foreign]) -> None:
        """What other API servers serve behind this one."""
        self._foreign = {(each.group, each.version): each for each in foreign}
        self._made.clear()

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if self._generation != self._kinds.generation:
            self._made.clear()
            self._generation = self._kinds.generation
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _groups(self) -> dict[str, dict[str, list[tuple[Kind, Resource]]]]:
        """Group -> version -> (kind, resource as served there) by name, all in order of preference."""

        def make() -> dict[str, dict[str, list[tuple[Kind, Resource]]]]:
            found: dict[str, dict[str, list[tuple[Kind, Resource]]]] = {}
            for entry in self._kinds.entries():
                for resource in entry.served:
                    versions = found.setdefault(resource.group, {})
                    versions.setdefault(resource.version, []).append((entry.kind, resource))
            for group, version in self._foreign:
                found.setdefault(group, {})[version] = []
            return {
                group: {
                    version: sorted(found[group][version], key=lambda pair: pair[1].plural)
                    for version in sorted(found[group], key=lambda each: self._version_order(group, each))
                }
                for group in sorted(found, key=self._group_order)
            }

        made: dict[str, dict[str, list[tuple[Kind, Resource]]]] = self._once("groups", make)
        return made

    def _group_order(self, group: str) -> tuple[int, str]:
        order, name = group_order(group)
        foreign = [each.group_priority for each in self._foreign.values() if each.group == group]
        if foreign and not any(entry.kind.resource.group == group for entry in self._kinds.entries()):
            order = 0
        return min([order, *(-priority for priority in foreign)]), name

    def _version_order(self, group: str, version: str) -> tuple[int, tuple[int, int, int, str]]:
        foreign = self._foreign.get((group, version))
        return -(foreign.version_priority if foreign else _VERSION_PRIORITY), version_order(version)

    # -- legacy --

    def api_versions(self, address: str) -> Object:
        """``/api``; ``address`` is the server's own ``host:port``."""
        return {
            "kind": "APIVersions",
            "versions": list(self._groups().get("", {})),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }

    def group_list(self) -> Object:
        """``/apis``."""
        groups = [_group(group, versions) for group, versions in self._groups().items() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def group(self, name: str) -> Object | None:
        """``/apis/NAME``."""
        versions = self._groups().get(name) if name else None
        return (
            None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}
        )

    def resource_list(self, group: str, version: str) -> Object | None:
        """``/api/v1``, ``/apis/GROUP/VERSION``."""
        pairs = self._groups().get(group, {}).get(version)
        if pairs is None:
            return None
        resources = [row for kind, resource in pairs for row in _rows(kind, resource)]
        listed = {"groupVersion": f"{group}/{version}" if group else version, "resources": resources}
        # Upstream encodes what it says of the core group in the form of the time before there were groups.
        return {"kind": "APIResourceList", **({"apiVersion": "v1"} if group else {}), **listed}

    def paths(self) -> list[str]:
        """What ``/`` lists, without the health checks."""
        found = ["/.well-known/openid-configuration", "/api", "/apis"]
        for group, versions in self._groups().items():
            root = f"/apis/{group}" if group else "/api"
            found += [root, *(f"{root}/{version}" for version in versions)]
        found += ["/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/version"]
        return sorted(set(found))

    # -- aggregated --

    def aggregated(self, prefix: str, media: str = negotiation.JSON) -> tuple[bytes, str]:
        """(``APIGroupDiscoveryList`` in a media type, its ETag: of the JSON form) for ``api`` or ``apis``."""

        def make() -> tuple[Object, bytes, str]:
            items = [
                _aggregated_group(group, versions, self._foreign, self._kinds.is_custom)
                for group, versions in self._groups().items()
                if (prefix == "api") == (not group)
            ]
            document = {
                "kind": "APIGroupDiscoveryList", "apiVersion": f"{AGGREGATED}/v2", "metadata": {}, "items": items,
            }  # fmt: skip
            data = codec.encode_json(document) + b"\n"
            return document, data, f'"{hashlib.sha512(data).hexdigest().upper()}"'

        document, data, etag = self._once(f"aggregated {prefix}", make)
        if media == negotiation.JSON:
            return data, etag
        form = negotiation.Accepted("yaml" if media == negotiation.YAML else "protobuf")
        return self._once(f"aggregated {prefix} {media}", lambda: negotiation.encode(document, form)), etag


def _group(name: str, versions: Iterable[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _rows(kind: Kind, resource: Resource) -> list[Object]:
    """The entries of an APIResourceList for one resource and its subresources."""
    row: Object = {
        "name": resource.plural,
        "singularName": kind.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    if kind.stored:
        row["storageVersionHash"] = storage_version_hash(kind.resource)
    rows = [row]
    for name, subresource in sorted(kind.below(resource.version).items()):
        below: Object = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        group, version = _place(subresource, resource)
        if (group, version) != (resource.group, resource.version):
            below |= {"group": group, "version": version}
        rows.append(below | {"kind": subresource.kind, "verbs": sorted(subresource.verbs)})
    return rows


def _place(subresource: Subresource, resource: Resource) -> tuple[str, str]:
    if subresource.version:
        return subresource.group, subresource.version
    return resource.group, resource.version


def _aggregated_group(
    name: str,
    versions: Mapping[str, list[tuple[Kind, Resource]]],
    foreign: Mapping[tuple[str, str], Foreign],
    is_custom: Callable[[str, str], bool],
) -> Object:
    return {
        "metadata": {"name": name} if name else {},
        "versions": [
            _foreign_version(foreign[name, version])
            if (name, version) in foreign
            else {
                "version": version,
                "resources": [
                    _aggregated_resource(kind, resource, is_custom(name, kind.resource.plural))
                    for kind, resource in pairs
                ],
                "freshness": "Current",
            }
            for version, pairs in versions.items()
        ],
    }


def _foreign_version(foreign: Foreign) -> Object:
    found: Object = {"version": foreign.version}
    if foreign.resources:
        found["resources"] = list(foreign.resources)
    return {**found, "freshness": "Current" if foreign.current else "Stale"}


def _aggregated_resource(kind: Kind, resource: Resource, custom: bool) -> Object:
    """A kind that is custom is told with its group and version; a built-in one is of those it is listed under."""
    own = (resource.group, resource.version) if custom else ("", "")
    row: Object = {
        "resource": resource.plural,
        "responseKind": {"group": own[0], "version": own[1], "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    if below := kind.below(resource.version):
        row["subresources"] = [
            _aggregated_subresource(name, subresource, own) for name, subresource in sorted(below.items())
        ]
    return row


def _aggregated_subresource(name: str, subresource: Subresource, own: tuple[str, str]) -> Object:
    group, version = (subresource.group, subresource.version) if subresource.version else own
    return {
        "subresource": name,
        "responseKind": {"group": group, "version": version, "kind": subresource.kind},
        "verbs": sorted(subresource.verbs),
    }
