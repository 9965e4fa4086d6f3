"""ResourceClaimTemplate."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import devices, show
from sublet.kinds.rules.common import Errors, immutable, rule, spec_of, update_rule
from sublet.machinery.kind import Object


def _default(obj: Object) -> None:
    devices.default_claim(spec_of(obj).get("spec") or {})


def _validate(obj: Object) -> Errors:
    yield from devices.claim_spec("spec.spec", spec_of(obj).get("spec") or {})


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("spec", new.get("spec"), old.get("spec"))


KIND = builtin(
    "resourceclaimtemplates.resource.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=show.name_and_age,
)
