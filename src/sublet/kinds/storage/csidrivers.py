"""CSIDriver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, immutable, rule, spec_of, update_rule
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, not_supported

_MODES = ("Persistent", "Ephemeral")
_SHORTEST, _LONGEST = 600, 1 << 32
"""Seconds that a token may be good for."""
_MIN_PERIOD = 10
_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")


def _default(obj: Object) -> None:
    fill(
        obj.setdefault("spec", {}),
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType",
        requiresRepublish=False,
        seLinuxMount=False,
    )
    if not obj["spec"].get("volumeLifecycleModes"):
        obj["spec"]["volumeLifecycleModes"] = ["Persistent"]


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    policy, requests = spec.get("fsGroupPolicy"), spec.get("tokenRequests") or ()
    if policy is not None and policy not in _POLICIES:
        yield not_supported("spec.fsGroupPolicy", policy, _POLICIES)
    yield from _token_requests("spec.tokenRequests", requests)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _MODES:
            yield not_supported("spec.volumeLifecycleModes", mode, _MODES)
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < _MIN_PERIOD:
        detail = f"must be greater than or equal to {_MIN_PERIOD} seconds"
        yield invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, detail)
    secretly = spec.get("serviceAccountTokenInSecrets")
    if secretly is not None and not requests:
        detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        yield invalid("spec.serviceAccountTokenInSecrets", secretly, detail)


def _token_requests(path: str, requests: Sequence[Object]) -> Errors:
    """Each audience once; the lifetime of what is not asked for twice."""
    seen: set[str] = set()
    for index, request in enumerate(requests):
        where, audience = f"{path}[{index}]", request.get("audience") or ""
        if audience in seen:
            yield duplicate(f"{where}.audience", audience)
            continue
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is not None and seconds < _SHORTEST:
            detail = "may not specify a duration less than 10 minutes"
            yield invalid(f"{where}.expirationSeconds", seconds, detail)
        if seconds is not None and seconds > _LONGEST:
            detail = "may not specify a duration larger than 2^32 seconds"
            yield invalid(f"{where}.expirationSeconds", seconds, detail)


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    yield from immutable("spec.attachedRequired", spec.get("attachRequired"), before.get("attachRequired"))
    yield from immutable(
        "spec.volumeLifecycleModes", spec.get("volumeLifecycleModes"), before.get("volumeLifecycleModes")
    )


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    requests = spec.get("tokenRequests")
    return [
        show.name(obj),
        spec.get("attachRequired", True),
        *(bool(spec.get(flag)) for flag in ("podInfoOnMount", "storageCapacity")),
        "<unset>" if requests is None else ",".join(str(each.get("audience") or "") for each in requests),
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or show.NONE,
        show.age(obj, now),
    ]


KIND = builtin(
    "csidrivers.storage.k8s.io",
    default=_default,
    first_generation=0,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
