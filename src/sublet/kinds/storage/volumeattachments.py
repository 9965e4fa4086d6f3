"""VolumeAttachment."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, persistent, show, volumes
from sublet.kinds.rules.common import IMMUTABLE, MAX_INT32, Errors, named, rule, spec_of, update_rule, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, required, too_long

_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
_MAX_MESSAGE, _MAX_METADATA = 1024, 256 * 1024


def _validate(obj: Object) -> Errors:
    """A new one; names are looked at more closely than in one that is there already."""
    spec = spec_of(obj)
    yield from _whole(obj)
    yield from volumes.driver_name("spec.attacher", spec.get("attacher"))
    if volume := (spec.get("source") or {}).get("persistentVolumeName"):
        yield from named("spec.source.persistentVolumeName", volume, names.dns1123_subdomain)


def _whole(obj: Object) -> Errors:
    spec = spec_of(obj)
    if not spec.get("attacher"):
        yield required("spec.attacher")
    yield from _source("spec.source", spec.get("source") or {})
    yield from named("spec.nodeName", spec.get("nodeName") or "", names.dns1123_subdomain)
    yield from _status(obj)


def _status(obj: Object) -> Errors:
    status = obj.get("status") or {}
    metadata = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > _MAX_METADATA:
        yield too_long("status.attachmentMetadata", _MAX_METADATA)
    for field in ("attachError", "detachError"):
        where, failure = f"status.{field}", status.get(field) or {}
        if len((failure.get("message") or "").encode()) > _MAX_MESSAGE:
            # Kubernetes tells of another limit than the one it holds to.
            yield too_long(f"{where}.message", _MAX_METADATA)
        yield from within(f"{where}.errorCode", failure.get("errorCode"), 0, MAX_INT32)


def _source(path: str, source: Object) -> Errors:
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and volume is None:
        yield required(path, _ONE_SOURCE)
    if inline is not None and volume is not None:
        yield field_forbidden(path, _ONE_SOURCE)
    if volume == "":
        yield required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")
    if inline is not None:
        yield from persistent.spec_rules(f"{path}.inlineVolumeSpec", inline, "", inline=True)


def _validate_update(new: Object, old: Object) -> Errors:
    yield from _whole(new)
    if new.get("spec") != old.get("spec"):
        yield invalid("spec", gotypes.shown("VolumeAttachmentSpec", spec_of(new)), IMMUTABLE)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName") or "",
        spec.get("nodeName", ""),
        bool((obj.get("status") or {}).get("attached")),
        show.age(obj, now),
    ]


KIND = builtin(
    "volumeattachments.storage.k8s.io",
    status={"attached": False},
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    validate_status=update_rule(lambda new, _old: _status(new)),
    cells=_cells,
)
