"""DeviceClass."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.amounts import is_extended
from sublet.kinds.rules.common import Errors, fill, rule, spec_of, update_rule
from sublet.kinds.rules.devices import MAX_CONFIGURATIONS, each, opaque, selectors
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid


def _rules(obj: Object, old: Object | None) -> Errors:
    spec = spec_of(obj)
    stored = old is not None and (spec_of(old).get("config") or []) == (spec.get("config") or [])
    yield from selectors("spec.selectors", spec.get("selectors"))
    yield from each(
        "spec.config",
        spec.get("config"),
        MAX_CONFIGURATIONS,
        lambda where, found: opaque(where, found, stored=stored),
    )
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        yield invalid("spec.extendedResourceName", name, "must be a valid extended resource name")


def _validate(obj: Object) -> Errors:
    yield from _rules(obj, None)


KIND = builtin(
    "deviceclasses.resource.k8s.io",
    default=lambda obj: fill(obj, spec={}),
    validate=rule(_validate),
    validate_update=update_rule(_rules),
    update_alone=True,
    cells=show.name_and_age,
)
