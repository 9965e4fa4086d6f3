"""Rules of persistent volume claims, also as templates in StatefulSets and ephemeral volumes."""

from __future__ import annotations

from sublet.kinds.rules import amounts
from sublet.kinds.rules.common import Errors, label_selector, named, one_of
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
STORAGE = "storage"


def access_modes(path: str, found: list[str] | None) -> Errors:
    if not found:
        yield required(path, "at least 1 access mode is required")
        return
    for mode in found:
        if mode not in ACCESS_MODES:
            yield not_supported(path, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in found and len(found) > 1:
        yield field_forbidden(path, "may not use ReadWriteOncePod with other access modes")


def claim_spec(path: str, spec: Object) -> Errors:
    yield from access_modes(f"{path}.accessModes", spec.get("accessModes"))
    yield from label_selector(f"{path}.selector", spec.get("selector"))
    requests = (spec.get("resources") or {}).get("requests") or {}
    if STORAGE not in requests:
        yield required(f"{path}.resources[{STORAGE}]")
    else:
        yield from amounts.positive(f"{path}.resources[{STORAGE}]", requests[STORAGE])
    if storage_class := spec.get("storageClassName"):
        yield from named(f"{path}.storageClassName", storage_class, names.dns1123_subdomain)
    yield from one_of(f"{path}.volumeMode", spec.get("volumeMode"), VOLUME_MODES)
    if (attributes := spec.get("volumeAttributesClassName")) is not None:
        yield from named(f"{path}.volumeAttributesClassName", attributes, names.dns1123_subdomain)
    yield from _data_source(f"{path}.dataSource", spec.get("dataSource"))
    yield from _data_source(f"{path}.dataSourceRef", spec.get("dataSourceRef"))


def _data_source(path: str, source: Object | None) -> Errors:
    if source is None:
        return
    kind, group = source.get("kind") or "", source.get("apiGroup") or ""
    if not source.get("name"):
        yield required(f"{path}.name")
    if not kind:
        yield required(f"{path}.kind")
    if not group and kind and kind != "PersistentVolumeClaim":
        yield invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
