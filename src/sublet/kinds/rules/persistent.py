"""Rules of a PersistentVolume's spec, also inline in a VolumeAttachment."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from sublet.kinds.rules import amounts, placement, volumes
from sublet.kinds.rules.claims import STORAGE, VOLUME_MODES, access_modes
from sublet.kinds.rules.common import Errors, named, needs, no_backsteps
from sublet.kinds.rules.volumes_intree import INTREE, iscsi_persistent, secret_place
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import NIL, field_forbidden, invalid, not_supported, required

_POLICIES = ("Delete", "Recycle", "Retain")
_SECRETS = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip
_INLINE = "in the context of inline volumes"


def spec_rules(path: str, spec: Object, name: str, *, inline: bool = False, values: bool = True) -> Errors:
    """Every rule of a defaulted spec; ``inline`` ones belong to no PersistentVolume and must be CSI's.

    ``values``: whether nodes' labels may be compared only with what labels can be.
    """
    if inline:
        yield from _inline(path, spec)
    yield from access_modes(f"{path}.accessModes", spec.get("accessModes"), "")
    if not inline:
        yield from _capacity(f"{path}.capacity", spec.get("capacity") or {})
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and inline:
        if policy != "Retain":
            yield field_forbidden(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {_INLINE}")
    elif policy and policy not in _POLICIES:
        yield not_supported(f"{path}.persistentVolumeReclaimPolicy", policy, _POLICIES)
    if inline and spec.get("nodeAffinity") is not None:
        yield field_forbidden(f"{path}.nodeAffinity", f"may not be specified {_INLINE}")
    elif spec.get("nodeAffinity") is not None:
        yield from _affinity(f"{path}.nodeAffinity", spec["nodeAffinity"], values=values)
    yield from _sources(path, spec, name)
    root = posixpath.normpath((spec.get("hostPath") or {}).get("path") or ".") == "/"
    if root and policy == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        yield field_forbidden(f"{path}.persistentVolumeReclaimPolicy", detail)
    yield from _classes(path, spec, inline=inline)


def _inline(path: str, spec: Object) -> Errors:
    if spec.get("claimRef") is not None:
        yield field_forbidden(f"{path}.claimRef", f"may not be specified {_INLINE}")
    if spec.get("capacity"):
        yield field_forbidden(f"{path}.capacity", f"may not be specified {_INLINE}")
    if spec.get("csi") is None:
        yield required(f"{path}.csi", f"has to be specified {_INLINE}")


def _capacity(path: str, capacity: Object) -> Errors:
    if not capacity:
        yield required(path)
    if list(capacity) != [STORAGE]:
        yield not_supported(path, capacity or NIL, [STORAGE])
    for name, value in capacity.items():
        yield from amounts.basic(f"{path}[{name}]", value)
        yield from amounts.positive(f"{path}[{name}]", value)


def _affinity(path: str, affinity: Object, *, values: bool) -> Errors:
    if affinity.get("required") is None:
        yield required(f"{path}.required", "must specify required node constraints")
    else:
        yield from placement.node_selector(f"{path}.required", affinity["required"], values=values)


def _classes(path: str, spec: Object, *, inline: bool) -> Errors:
    if storage := spec.get("storageClassName"):
        if inline:
            yield field_forbidden(f"{path}.storageClassName", f"may not be specified {_INLINE}")
        else:
            yield from named(f"{path}.storageClassName", storage, names.dns1123_subdomain)
    mode = spec.get("volumeMode")
    if mode is not None and inline:
        if mode != "Filesystem":
            detail = f"may not specify volumeMode other than Filesystem {_INLINE}"
            yield field_forbidden(f"{path}.volumeMode", detail)
    elif mode is not None and mode not in VOLUME_MODES:
        yield not_supported(f"{path}.volumeMode", mode, VOLUME_MODES)
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        where = f"{path}.volumeAttributesClassName"
        if not attributes:
            yield required(where, "an empty string is disallowed")
        else:
            yield from named(where, attributes, names.dns1123_subdomain)
        if spec.get("csi") is None:
            yield required(f"{path}.csi", "has to be specified when using volumeAttributesClassName")


def sources(spec: Object) -> Mapping[str, Any]:
    """What the volume is made of, by type."""
    return {kind: spec[kind] for kind in _RULES if spec.get(kind) is not None}


def _sources(path: str, spec: Object, name: str) -> Errors:
    found = sources(spec)
    if not found:
        yield required(path, "must specify a volume type")
    for number, (kind, source) in enumerate(found.items()):
        if number and kind != "flexVolume":
            shown = "cephFS" if kind == "cephfs" else kind
            yield field_forbidden(f"{path}.{shown}", "may not specify more than 1 volume type")
            continue
        place = "persistentDisk" if kind == "gcePersistentDisk" else kind
        if kind == "iscsi":
            yield from iscsi_persistent(f"{path}.iscsi", source, name)
        else:
            yield from _RULES[kind](f"{path}.{place}", source)
        if kind == "local" and spec.get("nodeAffinity") is None:
            yield required(f"{path}.nodeAffinity", "Local volume requires node affinity")


def _with_secret_place(kind: str) -> volumes.Rule:
    def rule(path: str, source: Object) -> Errors:
        yield from INTREE[kind](path, source)
        yield from secret_place(path, source)

    return rule


def _glusterfs(path: str, source: Object) -> Errors:
    yield from INTREE["glusterfs"](path, source)
    namespace = source.get("endpointsNamespace")
    if namespace == "":
        detail = "if the endpointnamespace is set, it must be a valid namespace name"
        yield invalid(f"{path}.endpointsNamespace", namespace, detail)
    elif namespace is not None:
        yield from named(f"{path}.endpointsNamespace", namespace, names.dns1123_label)


def _azure_file(path: str, source: Object) -> Errors:
    yield from INTREE["azureFile"](path, source)
    if source.get("secretNamespace") == "":
        yield required(f"{path}.secretNamespace")


def _local(path: str, source: Object) -> Errors:
    where = source.get("path") or ""
    if not where:
        yield required(f"{path}.path")
    yield from no_backsteps(f"{path}.path", where)


def _csi(path: str, source: Object) -> Errors:
    yield from volumes.driver_name(f"{path}.driver", source.get("driver"))
    yield from needs(f"{path}.volumeHandle", source.get("volumeHandle"))
    for field in _SECRETS:
        if (reference := source.get(field)) is not None:
            yield from needs(f"{path}.{field}.name", reference.get("name"), names.dns1123_subdomain)
            yield from needs(f"{path}.{field}.namespace", reference.get("namespace"), names.dns1123_label)


_RULES: Mapping[str, volumes.Rule] = {
    "hostPath": volumes.host_path,
    "gcePersistentDisk": INTREE["gcePersistentDisk"],
    "awsElasticBlockStore": INTREE["awsElasticBlockStore"],
    "glusterfs": _glusterfs,
    "flocker": INTREE["flocker"],
    "nfs": volumes.nfs,
    "rbd": INTREE["rbd"],
    "quobyte": INTREE["quobyte"],
    "cephfs": INTREE["cephfs"],
    "iscsi": INTREE["iscsi"],
    "cinder": _with_secret_place("cinder"),
    "fc": INTREE["fc"],
    "flexVolume": INTREE["flexVolume"],
    "azureFile": _azure_file,
    "vsphereVolume": INTREE["vsphereVolume"],
    "photonPersistentDisk": INTREE["photonPersistentDisk"],
    "portworxVolume": INTREE["portworxVolume"],
    "azureDisk": INTREE["azureDisk"],
    "scaleIO": INTREE["scaleIO"],
    "local": _local,
    "storageos": _with_secret_place("storageos"),
    "csi": _csi,
}
"""Volume type -> its rule, in the order Kubernetes looks at them."""
