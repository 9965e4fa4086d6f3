"""Versions before the stable one that have its shape: served where ``--runtime-config`` asks for them, as upstream.

The same objects are read and written under both. Alpha and beta versions of another shape, and of kinds that are not
stable in any version, are not here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from sublet.kinds import schemas
from sublet.machinery.kind import Kind, Object, Resource, Served

_POLICIES = {
    "mutatingadmissionpolicies": "MutatingAdmissionPolicy",
    "mutatingadmissionpolicybindings": "MutatingAdmissionPolicyBinding",
}
_SAME: Mapping[str, tuple[Mapping[str, str], int]] = {
    "admissionregistration.k8s.io/v1beta1": (_POLICIES, 34),
    "admissionregistration.k8s.io/v1alpha1": (_POLICIES, 32),
    "networking.k8s.io/v1beta1": ({"ipaddresses": "IPAddress", "servicecidrs": "ServiceCIDR"}, 31),
    "resource.k8s.io/v1beta2": ({
        "deviceclasses": "DeviceClass", "resourceclaims": "ResourceClaim",
        "resourceclaimtemplates": "ResourceClaimTemplate", "resourceslices": "ResourceSlice",
    }, 33),
    "storage.k8s.io/v1beta1": ({"volumeattributesclasses": "VolumeAttributesClass"}, 31),
}  # fmt: skip
"""Group and version -> resources with their kinds, and the minor that brought them."""
_WIDE = ("api/all", "api/ga", "api/beta", "api/alpha")
_STABLE = re.compile(r"v\d+")
_DEPRECATED_AFTER, _REMOVED_AFTER = 3, 6
"""Minors after the one that brought a version."""


def stable(minor: str) -> frozenset[str]:
    """The keys of ``--runtime-config`` that are of stable APIs: ``GROUP/VERSION``, and ``api/v1`` of the core group."""
    versions = [each for each in schemas.names(minor) if _STABLE.fullmatch(each.rpartition("/")[2])]
    return frozenset(each if "/" in each else f"api/{each}" for each in versions)


def known(key: str, minor: str) -> bool:
    """Whether a key of ``--runtime-config`` is of anything that is here."""
    group_version = key if key.count("/") < 2 else key.rpartition("/")[0]
    if key in _WIDE or group_version in stable(minor):
        return True
    return any(each == key or each.startswith(f"{key}/") for each in _there(minor))


def asked_for(stated: Mapping[str, bool], minor: str) -> frozenset[str]:
    """``GROUP/VERSION/RESOURCE`` of what is served beside the stable versions.

    ``stated``: keys of ``--runtime-config`` (``api/all``, ``api/beta``, ``api/alpha``, ``GROUP/VERSION`` with or without
    ``/RESOURCE``); the narrower decides.
    """
    return frozenset(each for each in _there(minor) if _on(each, stated))


def _there(minor: str) -> Iterator[str]:
    """What may be asked for: what the minor has in both versions, and does not remove."""
    names = schemas.names(minor)
    for version, (kinds, since) in _SAME.items():
        if _number(minor) >= since + _REMOVED_AFTER:
            continue
        first = names.get(f"{version.partition('/')[0]}/v1", {})
        for plural, kind in kinds.items():
            if kind in first and kind in names.get(version, {}):
                yield f"{version}/{plural}"


def _number(minor: str) -> int:
    return int(minor.partition(".")[2])


def _on(each: str, stated: Mapping[str, bool]) -> bool:
    version = each.rpartition("/")[0]
    stage = "api/beta" if "beta" in version else "api/alpha"
    return next((stated[key] for key in (each, version, stage, "api/all") if key in stated), False)


def with_versions(kind: Kind, chosen: Collection[str], minor: str) -> Kind:
    """The kind, also served under those of its versions that were chosen (see :func:`asked_for`)."""
    stable, more = kind.resource, list[Served]()
    for version, (kinds, since) in _SAME.items():
        group, _, name = version.partition("/")
        if group == stable.group and stable.plural in kinds and f"{version}/{stable.plural}" in chosen:
            more.append(_served(replace(stable, version=name), stable, since, int(minor.partition(".")[2])))
    return replace(kind, also_served=(*kind.also_served, *more)) if more else kind


def _served(resource: Resource, stable: Resource, since: int, minor: int) -> Served:
    def renamed(obj: Object, to: Resource) -> Object:
        rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
        return {"apiVersion": to.api_version, "kind": to.kind, **rest}

    deprecated, removed = since + _DEPRECATED_AFTER, since + _REMOVED_AFTER
    of = f"{resource.api_version} {resource.kind}"
    text = f"{of} is deprecated in v1.{deprecated}+, unavailable in v1.{removed}+"
    return Served(
        resource,
        lambda obj: renamed(obj, resource),
        lambda obj: renamed(obj, stable),
        deprecation=(text, f"1.{removed}") if minor >= deprecated else None,
    )


__all__: Sequence[str] = ("asked_for", "known", "stable", "with_versions")
