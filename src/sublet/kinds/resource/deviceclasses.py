"""DeviceClass."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, rule, spec_of
from sublet.kinds.rules.devices import selectors
from sublet.machinery.kind import Object


def _validate(obj: Object) -> Errors:
    yield from selectors("spec.selectors", spec_of(obj).get("selectors") or ())


KIND = builtin("deviceclasses.resource.k8s.io", validate=rule(_validate), cells=show.name_and_age)
