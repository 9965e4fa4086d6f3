"""RuntimeClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, show, warn
from sublet.kinds.rules.common import Errors, immutable, labels, named, rule, update_rule
from sublet.kinds.rules.placement import tolerations
from sublet.machinery import names
from sublet.machinery.kind import Object


def _validate(obj: Object) -> Errors:
    yield from named("handler", obj.get("handler") or "", names.dns1123_label)
    for name, value in ((obj.get("overhead") or {}).get("podFixed") or {}).items():
        yield from amounts.container_resource_name(f"overhead.podFixed[{name}]", name)
        yield from amounts.amount(f"overhead.podFixed[{name}]", name, value)
    scheduling = obj.get("scheduling") or {}
    yield from labels("scheduling.nodeSelector", scheduling.get("nodeSelector"))
    yield from tolerations("scheduling.tolerations", scheduling.get("tolerations") or ())


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("handler", new.get("handler"), old.get("handler"))


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), obj.get("handler", ""), show.age(obj, now)]


KIND = builtin(
    "runtimeclasses.node.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.runtime_class,
    cells=_cells,
)
