"""ControllerRevision."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, immutable, not_negative, rule, update_rule
from sublet.machinery.kind import Object
from sublet.machinery.objects import controller_of
from sublet.machinery.status import required


def _validate(obj: Object) -> Errors:
    if obj.get("data") is None:
        yield required("data", "data is mandatory")
    yield from not_negative("revision", obj.get("revision") or 0)


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("data", new.get("data"), old.get("data"))


def _controller_text(obj: Object) -> str:
    owner = controller_of(obj)
    if owner is None:
        return show.NONE
    group = str(owner.get("apiVersion") or "").rpartition("/")[0]
    kind = str(owner.get("kind") or "").lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), _controller_text(obj), obj.get("revision") or 0, show.age(obj, now)]


KIND = builtin(
    "controllerrevisions.apps",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
