"""StorageClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, fill_empty, immutable, needs, one_of, rule, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, field_forbidden, required, too_long

DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_OLD_DEFAULT_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
_MAX_PARAMETERS, _MAX_BYTES = 512, 256 * 1024


def _default(obj: Object) -> None:
    fill_empty(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def parameters(path: str, found: Object | None, *, empty: bool = True) -> Errors:
    """Free settings of a class: bounded, and no key empty."""
    if not found:
        if not empty:
            yield required(path, "must contain at least one key/value pair")
        return
    if len(found) > _MAX_PARAMETERS:
        yield FieldError(
            "FieldValueTooLong",
            "Provisioner Parameters Length",
            f"Too long: may not be more than {_MAX_PARAMETERS} bytes",
        )
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > _MAX_BYTES:
        yield too_long(path, _MAX_BYTES)
    if "" in found:
        yield required(path, "parameter name is required")


def _validate(obj: Object) -> Errors:
    provisioner = obj.get("provisioner")
    yield from needs("provisioner", provisioner, lambda value: names.qualified_name(value.lower()))
    yield from parameters("parameters", obj.get("parameters"))
    yield from one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode")
    yield from one_of("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer"), needed=True)


def _validate_update(new: Object, old: Object) -> Errors:
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        yield field_forbidden("parameters", "updates to parameters are forbidden.")
    if new.get("provisioner") != old.get("provisioner"):
        yield field_forbidden("provisioner", "updates to provisioner are forbidden.")
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        yield field_forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.")
    yield from immutable("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


def is_default(obj: Object) -> bool:
    """Whether claims without a class get this one."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return "true" in (annotations.get(DEFAULT_ANNOTATION), annotations.get(_OLD_DEFAULT_ANNOTATION))


def _cells(obj: Object, now: float) -> list[Any]:
    name = show.name(obj)
    return [
        f"{name} (default)" if is_default(obj) else name,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        show.age(obj, now),
    ]


KIND = builtin(
    "storageclasses.storage.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.storage_class,
    cells=_cells,
)
