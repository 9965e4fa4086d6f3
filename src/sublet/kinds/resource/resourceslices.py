"""ResourceSlice."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, fill, rule, spec_of, update_rule
from sublet.kinds.rules.device_slices import slice_spec
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339


def _validate(obj: Object) -> Errors:
    yield from slice_spec("spec", spec_of(obj), None)


def _validate_update(new: Object, old: Object) -> Errors:
    yield from slice_spec("spec", spec_of(new), spec_of(old))


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    pool = (spec.get("pool") or {}).get("name", "")
    return [
        show.name(obj),
        spec.get("nodeName") or "<unset>",
        spec.get("driver", ""),
        pool,
        show.age(obj, now),
    ]


def _stamp(new: Object, _old: Object | None, now: float) -> None:
    """A taint says since when it is there; one that does not is new."""
    for device in spec_of(new).get("devices") or ():
        for taint in device.get("taints") or ():
            fill(taint, timeAdded=rfc3339(now))


KIND = builtin(
    "resourceslices.resource.k8s.io",
    stamp=_stamp,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    warnings=warn.resource_slice,
    cells=_cells,
    selectable={
        "spec.nodeName": lambda obj: str(spec_of(obj).get("nodeName") or ""),
        "spec.driver": lambda obj: str(spec_of(obj).get("driver") or ""),
    },
)
