"""VolumeAttachment."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, immutable, needs, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, required


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from needs(
        "spec.attacher", spec.get("attacher"), lambda value: names.dns1123_subdomain(value.lower())
    )
    source = spec.get("source") or {}
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is not None and volume is not None:
        detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        yield field_forbidden("spec.source", detail)
    elif inline is None:
        if volume is None:
            yield required(
                "spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            )
        elif not volume:
            yield required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
    yield from needs("spec.nodeName", spec.get("nodeName"), names.dns1123_subdomain)


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("spec", new.get("spec"), old.get("spec"))


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
    cells=_cells,
)
