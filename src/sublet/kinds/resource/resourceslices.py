"""ResourceSlice."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, immutable, needs, rule, spec_of, unique, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, too_many

_MAX_DEVICES = 128
_WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from needs("spec.driver", spec.get("driver"), names.dns1123_subdomain)
    yield from needs("spec.pool.name", (spec.get("pool") or {}).get("name"))
    if sum(bool(spec.get(field)) for field in _WHERE) != 1 and not spec.get("sharedCounters"):
        listed = "`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`"
        yield invalid("spec", None, f"exactly one of {listed} is required")
    found = spec.get("devices") or ()
    if len(found) > _MAX_DEVICES:
        yield too_many("spec.devices", len(found), _MAX_DEVICES)
    yield from unique("spec.devices", found, "name")
    for index, device in enumerate(found):
        yield from needs(f"spec.devices[{index}].name", device.get("name"), names.dns1123_label)


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    for field in ("driver", "nodeName"):
        yield from immutable(f"spec.{field}", spec.get(field), before.get(field))
    now, then = (spec.get("pool") or {}).get("name"), (before.get("pool") or {}).get("name")
    yield from immutable("spec.pool.name", now, then)


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


KIND = builtin(
    "resourceslices.resource.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
    selectable={
        "spec.nodeName": lambda obj: str(spec_of(obj).get("nodeName") or ""),
        "spec.driver": lambda obj: str(spec_of(obj).get("driver") or ""),
    },
)
