"""ResourceClaimTemplate."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import devices, gotypes, show
from sublet.kinds.rules.common import (
    Errors,
    annotation_map,
    immutable,
    labels,
    made,
    rule,
    spec_of,
    update_rule,
)
from sublet.machinery.kind import Object


def _default(obj: Object) -> None:
    made(obj, "spec", "metadata")
    devices.default_claim(made(obj, "spec", "spec"))


def _validate(obj: Object) -> Errors:
    metadata = spec_of(obj).get("metadata") or {}
    yield from annotation_map("spec.metadata.annotations", metadata.get("annotations"))
    yield from labels("spec.metadata.labels", metadata.get("labels"))
    yield from devices.claim_spec("spec.spec", spec_of(obj).get("spec") or {})


def _validate_update(new: Object, old: Object) -> Errors:
    """What cannot change is not judged again."""
    now, then = (gotypes.template(spec_of(obj), "ResourceClaimSpec") for obj in (new, old))
    yield from immutable("spec", now, then)


KIND = builtin(
    "resourceclaimtemplates.resource.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=show.name_and_age,
)
