"""Rules of volume sources that only old in-tree drivers knew; pods and PersistentVolumes have them in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sublet.kinds.rules.common import Errors, descending, named, needs, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported, required

_INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)$").search,
    "eui": re.compile(r"^eui.[a-zA-Z0-9]{16}$").search,
    "naa": re.compile(r"^naa.[a-zA-Z0-9]{32}$").search,
}
_FORMAT = "must be valid format"
_REGISTRY = "must be a host:port pair or multiple pairs separated by commas"
_PORTAL_LIMIT = 64
_PORTAL = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName "
    "is specified."
)
_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"

Rule = Callable[[str, Object], Errors]


def _having(*fields: str) -> Rule:
    def rule(path: str, source: Object) -> Errors:
        for field in fields:
            yield from needs(f"{path}.{field}", source.get(field))

    return rule


def _disk(field: str) -> Rule:
    def rule(path: str, source: Object) -> Errors:
        yield from needs(f"{path}.{field}", source.get(field))
        if not 0 <= (source.get("partition") or 0) <= 255:
            yield invalid(f"{path}.partition", source["partition"], "must be between 1 and 255, inclusive")

    return rule


def _git(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.repository", source.get("repository"))
    yield from descending(f"{path}.directory", source.get("directory") or "")


def iscsi(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.targetPortal", source.get("targetPortal"))
    yield from _iscsi_target(path, source, f"{_FORMAT} starting with iqn, eui, or naa")
    yield from _initiator(f"{path}.initiatorname", source, f"{_FORMAT} starting with iqn, eui, or naa")


def iscsi_persistent(path: str, source: Object, volume: str) -> Errors:
    """The same of the PersistentVolume called ``volume``; its errors say less."""
    portal = source.get("targetPortal") or ""
    yield from needs(f"{path}.targetPortal", portal)
    yield from portal_length(f"{path}.targetportal", portal, volume, source)
    yield from _iscsi_target(path, source, _FORMAT)
    yield from _secret_name(path, source)
    yield from _initiator(f"{path}.initiatorname", source, _FORMAT)


def _iscsi_target(path: str, source: Object, no_type: str) -> Errors:
    if source.get("iqn"):
        yield from _qualified(f"{path}.iqn", source["iqn"], no_type)
    else:
        yield required(f"{path}.iqn")
    yield from within(f"{path}.lun", source.get("lun") or 0, 0, 255)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        yield required(f"{path}.secretRef")


def _initiator(path: str, source: Object, no_type: str) -> Errors:
    if (initiator := source.get("initiatorName")) is not None:
        yield from _qualified(path, initiator, no_type)


def _qualified(path: str, name: str, no_type: str) -> Errors:
    """An iSCSI name; ``no_type``: what is said of one that is of no type."""
    if name[:3] not in _INITIATORS:
        yield invalid(path, name, no_type)
    elif not _INITIATORS[name[:3]](name):
        yield invalid(path, name, _FORMAT)


def portal_length(path: str, shown: str, name: str, source: Object | None) -> Errors:
    """Open-iSCSI names a session after the volume and its portal."""
    named_initiator = source is not None and source.get("initiatorName") is not None
    if named_initiator and len(f"{name}:{(source or {}).get('targetPortal') or ''}") > _PORTAL_LIMIT:
        yield invalid(path, shown, _PORTAL)


def _fc(path: str, source: Object) -> Errors:
    targets, ids, lun = source.get("targetWWNs"), source.get("wwids"), source.get("lun")
    if not targets and not ids:
        yield required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    if targets and ids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        yield invalid(f"{path}.targetWWNs", targets, detail)
    if targets:
        if lun is None:
            yield required(f"{path}.lun", "lun is required if targetWWNs is specified")
        else:
            yield from within(f"{path}.lun", lun, 0, 255)


def _quobyte(path: str, source: Object) -> Errors:
    registry = source.get("registry") or ""
    if not registry:
        yield required(f"{path}.registry", _REGISTRY)
    elif len(source.get("tenant") or "") >= 65:
        yield required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in registry.split(","):
            if pair.count(":") != 1:
                yield invalid(f"{path}.registry", registry, _REGISTRY)
    yield from needs(f"{path}.volume", source.get("volume"))


def _flocker(path: str, source: Object) -> Errors:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uuid:
        yield required(path, "one of datasetName and datasetUUID is required")
    if name and uuid:
        yield invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in name:
        yield invalid(f"{path}.datasetName", name, "must not contain '/'")


def _flex(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.driver", source.get("driver"))
    for key in source.get("options") or ():
        domain, slash, _ = key.partition("/")
        if f".{(domain if slash else key).lower()}".endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            yield invalid(f"{path}.options[{key}]", key, detail)


def _azure_disk(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.diskName", source.get("diskName"))
    uri, kind = source.get("diskURI") or "", source.get("kind")
    yield from needs(f"{path}.diskURI", uri)
    for field, supported in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        if source.get(field) is not None and source[field] not in supported:
            yield not_supported(f"{path}.{field}", source[field], supported)
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        yield not_supported(f"{path}.diskURI", uri, (_MANAGED,))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        yield not_supported(f"{path}.diskURI", uri, (_BLOB,))


def _storage_os(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.volumeName", source.get("volumeName"), names.dns1123_label)
    if namespace := source.get("volumeNamespace"):
        yield from named(f"{path}.volumeNamespace", namespace, names.dns1123_label)
    yield from _secret_name(path, source)


def _secret_name(path: str, source: Object) -> Errors:
    if source.get("secretRef") is not None:
        yield from needs(f"{path}.secretRef.name", source["secretRef"].get("name"))


def _cinder(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.volumeID", source.get("volumeID"))
    yield from _secret_name(path, source)


def secret_place(path: str, source: Object) -> Errors:
    """PersistentVolumes say in which namespace a secret is."""
    if source.get("secretRef") is not None:
        yield from needs(f"{path}.secretRef.namespace", source["secretRef"].get("namespace"))


INTREE: Mapping[str, Rule] = {
    "gitRepo": _git,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "iscsi": iscsi,
    "glusterfs": _having("endpoints", "path"),
    "flocker": _flocker,
    "rbd": _having("monitors", "image"),
    "cinder": _cinder,
    "cephfs": _having("monitors"),
    "quobyte": _quobyte,
    "fc": _fc,
    "flexVolume": _flex,
    "azureFile": _having("secretName", "shareName"),
    "vsphereVolume": _having("volumePath"),
    "photonPersistentDisk": _having("pdID"),
    "portworxVolume": _having("volumeID"),
    "azureDisk": _azure_disk,
    "storageos": _storage_os,
    "scaleIO": _having("gateway", "system", "volumeName"),
}
"""Volume type -> rule of its source."""
