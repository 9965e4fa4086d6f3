"""StorageClass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, fill, immutable, named, rule, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required, too_long

DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_OLD_DEFAULT_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
_MODES = ("Immediate", "WaitForFirstConsumer")
_MAX_PARAMETERS, _MAX_BYTES = 512, 256 * 1024


def _default(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def parameters(path: str, found: Object | None, *, empty: bool = True) -> Errors:
    """Free settings of a class: bounded, and no key empty."""
    found = found or {}
    if not found and not empty:
        yield required(path, "must contain at least one key/value pair")
        return
    if len(found) > _MAX_PARAMETERS:
        yield too_long(path, _MAX_PARAMETERS)
        return
    if "" in found:
        yield invalid(path, "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > _MAX_BYTES:
        yield too_long(path, _MAX_BYTES)


def driver(path: str, name: str | None) -> Errors:
    """Who makes the volumes of a class."""
    if not name:
        yield required(path)
        return
    yield from named(path, name.lower(), names.qualified_name)


def _validate(obj: Object) -> Errors:
    yield from driver("provisioner", obj.get("provisioner"))
    yield from parameters("parameters", obj.get("parameters"))
    if (policy := obj.get("reclaimPolicy")) and policy not in ("Delete", "Retain"):
        yield not_supported("reclaimPolicy", policy, ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode")
    if mode not in _MODES:
        yield (
            required("volumeBindingMode")
            if mode is None
            else not_supported("volumeBindingMode", mode, _MODES)
        )
    yield from _topologies("allowedTopologies", obj.get("allowedTopologies") or ())


def _topologies(path: str, terms: Sequence[Object]) -> Errors:
    """Requirements of node labels; none twice, in whatever order."""
    seen: list[Any] = []
    for index, term in enumerate(terms):
        where, keys = f"{path}[{index}]", set()
        for number, requirement in enumerate(term.get("matchLabelExpressions") or ()):
            at, key = f"{where}.matchLabelExpressions[{number}]", requirement.get("key") or ""
            values = requirement.get("values") or ()
            if not values:
                yield required(f"{at}.values")
            yield from _each_once(f"{at}.values", values)
            yield from named(f"{at}.key", key, names.qualified_name)
            if key in keys:
                yield duplicate(f"{at}.key", key)
            keys.add(key)
        meant = {r.get("key"): set(r.get("values") or ()) for r in term.get("matchLabelExpressions") or ()}
        if meant in seen:
            yield duplicate(f"{where}.matchLabelExpressions", "")
        seen.append(meant)


def _each_once(path: str, values: Sequence[str]) -> Errors:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield duplicate(f"{path}[{index}]", value)


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
