"""Rules of persistent volume claims, also as templates in StatefulSets and ephemeral volumes."""

from __future__ import annotations

from sublet.kinds.rules import amounts
from sublet.kinds.rules.common import Errors, label_selector, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
STORAGE = "storage"


def access_modes(path: str, found: list[str] | None, missing: str) -> Errors:
    """``missing``: what an empty list is told."""
    if not found:
        yield required(path, missing)
    yield from _supported_modes(path, found or [])


def _supported_modes(path: str, found: list[str]) -> Errors:
    for mode in found:
        if mode not in ACCESS_MODES:
            yield not_supported(path, mode, ACCESS_MODES)
    others = any(mode in ACCESS_MODES and mode != "ReadWriteOncePod" for mode in found)
    if "ReadWriteOncePod" in found and others:
        yield field_forbidden(path, "may not use ReadWriteOncePod with other access modes")


def claim_spec(path: str, spec: Object, old: Object | None = None) -> Errors:
    """``old``: the spec that it takes the place of, which may go on selecting and referring as no new one may."""
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{path}.accessModes", "at least 1 access mode is required")
    odd = any(label_selector("", (old or {}).get("selector")))
    yield from label_selector(f"{path}.selector", spec.get("selector"), values=not odd)
    yield from _supported_modes(f"{path}.accessModes", modes)
    requests = (spec.get("resources") or {}).get("requests") or {}
    if STORAGE not in requests:
        yield required(f"{path}.resources[{STORAGE}]")
    else:
        yield from amounts.positive(f"{path}.resources[{STORAGE}]", requests[STORAGE])
    if storage_class := spec.get("storageClassName"):
        yield from named(f"{path}.storageClassName", storage_class, names.dns1123_subdomain)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        yield not_supported(f"{path}.volumeMode", mode, VOLUME_MODES)
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    any_group = any(
        ((old or {}).get(field) or {}).get("apiGroup") is not None
        for field in ("dataSource", "dataSourceRef")
    )
    yield from _data_source(f"{path}.dataSource", source, any_group=any_group)
    yield from _data_source(f"{path}.dataSourceRef", reference, any_group=any_group)
    yield from _same_source(path, source, reference)
    if attributes := spec.get("volumeAttributesClassName"):
        yield from named(f"{path}.volumeAttributesClassName", attributes, names.dns1123_subdomain)


def _data_source(path: str, source: Object | None, *, any_group: bool) -> Errors:
    if source is None:
        return
    kind, group = source.get("kind") or "", source.get("apiGroup") or ""
    if not source.get("name"):
        yield required(f"{path}.name")
    if not kind:
        yield required(f"{path}.kind")
    if not group and kind != "PersistentVolumeClaim":
        yield invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
    if group and not any_group:
        yield from named(f"{path}.apiGroup", group, names.dns1123_subdomain)
    if namespace := source.get("namespace"):
        yield from named(f"{path}.namespace", namespace, names.dns1123_label)


def _same_source(path: str, source: Object | None, reference: Object | None) -> Errors:
    """The older field says the same as the newer one, or nothing where another namespace is meant."""
    if source is None or reference is None:
        return
    if reference.get("namespace"):
        detail = "may not be specified when dataSourceRef.namespace is specified"
        yield invalid(path, f"{path}.dataSource", detail)
    elif any(source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name")):
        yield invalid(path, f"{path}.dataSource", "must match dataSourceRef")
