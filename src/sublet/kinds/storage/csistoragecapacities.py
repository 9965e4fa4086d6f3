"""CSIStorageCapacity."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, show
from sublet.kinds.rules.common import Errors, immutable, label_selector, needs, rule, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object


def _validate(obj: Object) -> Errors:
    yield from needs("storageClassName", obj.get("storageClassName"), names.dns1123_subdomain)
    yield from label_selector("nodeTopology", obj.get("nodeTopology"))
    for field in ("capacity", "maximumVolumeSize"):
        if obj.get(field) is not None:
            yield from amounts.not_negative(field, obj[field])


def _validate_update(new: Object, old: Object) -> Errors:
    for field in ("nodeTopology", "storageClassName"):
        yield from immutable(field, new.get(field), old.get(field))


def _cells(obj: Object, _now: float) -> list[Any]:
    return [show.name(obj), obj.get("storageClassName", ""), obj.get("capacity") or "<unset>"]


KIND = builtin(
    "csistoragecapacities.storage.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
