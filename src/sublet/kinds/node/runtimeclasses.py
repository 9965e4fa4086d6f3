"""RuntimeClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, gotypes, show, warn
from sublet.kinds.rules.common import Errors, immutable, labels, named, rule, update_rule
from sublet.kinds.rules.placement import tolerations
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate


def _default(obj: Object) -> None:
    amounts.rounded((obj.get("overhead") or {}).get("podFixed"))


def _validate(obj: Object) -> Errors:
    yield from named("handler", obj.get("handler") or "", names.dns1123_label)
    if (overhead := obj.get("overhead")) is not None:
        yield from amounts.requirements("overhead", {"limits": overhead.get("podFixed")})
    scheduling = obj.get("scheduling") or {}
    yield from labels("scheduling.nodeSelector", scheduling.get("nodeSelector"))
    tolerated = scheduling.get("tolerations") or ()
    yield from tolerations("scheduling.tolerations", tolerated)
    seen = set()
    for index, toleration in enumerate(tolerated):
        key = tuple(toleration.get(field) or "" for field in ("key", "operator", "value", "effect"))
        if key in seen:
            yield duplicate(f"scheduling.tolerations[{index}]", gotypes.shown("Toleration", toleration))
        seen.add(key)


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("handler", new.get("handler"), old.get("handler"))


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), obj.get("handler", ""), show.age(obj, now)]


KIND = builtin(
    "runtimeclasses.node.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.runtime_class,
    cells=_cells,
)
