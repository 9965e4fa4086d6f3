"""Reading and writing the parts that all objects share: metadata, owners, conditions, times.

Readers accept absent parts; none of them changes the object.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sublet.machinery.kind import Object, Resource


def name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def namespace(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("namespace") or "")


def uid(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("uid") or "")


def key(obj: Object) -> str:
    """``NAMESPACE/NAME``, or ``NAME`` where there is no namespace: what queues and caches go by."""
    where = namespace(obj)
    return f"{where}/{name(obj)}" if where else name(obj)


def split_key(key: str) -> tuple[str, str]:
    """(namespace or "", name) of a key."""
    where, _, name = key.rpartition("/")
    return where, name


def labels(obj: Object) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def finalizers(obj: Object) -> list[str]:
    return (obj.get("metadata") or {}).get("finalizers") or []


def owners(obj: Object) -> list[dict[str, Any]]:
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference with ``controller: true``."""
    return next((owner for owner in owners(obj) if owner.get("controller")), None)


def is_deleting(obj: Object) -> bool:
    return bool((obj.get("metadata") or {}).get("deletionTimestamp"))


def owner_reference(owner: Object, resource: Resource, *, controller: bool = True) -> dict[str, Any]:
    """A reference to ``owner`` that blocks its foreground deletion when it is the controller."""
    reference: dict[str, Any] = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name(owner),
        "uid": uid(owner),
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


def disruption_target(reason: str, message: str, now: float) -> Object:
    """The condition of a pod that somebody makes go. ``now``: Unix seconds."""
    return {
        "type": "DisruptionTarget", "status": "True", "lastTransitionTime": rfc3339(now), "reason": reason,
        "message": message,
    }  # fmt: skip


def condition(obj: Object, kind: str) -> dict[str, Any] | None:
    """The entry of ``status.conditions`` with this type."""
    found: Iterable[dict[str, Any]] = (obj.get("status") or {}).get("conditions") or ()
    for each in found:  # a generator would cost twice as much, for every pod of every look at a workload
        if each.get("type") == kind:
            return each
    return None


def is_true(obj: Object, kind: str) -> bool:
    """Whether the condition of this type has status ``True``."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def rfc3339(seconds: float) -> str:
    """``2026-01-02T03:04:05Z``: metav1.Time, whole seconds."""
    # glibc writes the year 1 as "1"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)).zfill(20)


def rfc3339_micro(seconds: float) -> str:
    """``2026-01-02T03:04:05.000006Z``: metav1.MicroTime."""
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    return rfc3339(whole)[:-1] + f".{micro:06d}Z"


def since(condition: Mapping[str, Any]) -> float:
    """When a condition took its status, in seconds; 0 (long ago) where it does not say, as Go's zero time."""
    text = condition.get("lastTransitionTime")
    return parse_time(text) if text else 0.0


def parse_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time (any fraction, ``Z`` or an offset). Raises ``ValueError``."""
    body = text[:19]
    rest = text[19:]
    seconds = _whole_seconds(body)
    if rest.startswith("."):
        digits = len(rest) - len(rest[1:].lstrip("0123456789")) - 1
        if not digits:
            raise ValueError(f"{text!r} is not an RFC 3339 time")
        seconds += float("0." + rest[1 : 1 + digits])
        rest = rest[1 + digits :]
    if rest in ("Z", "z"):
        return seconds
    if len(rest) == 6 and rest[0] in "+-" and rest[3] == ":":
        offset = int(rest[1:3]) * 3600 + int(rest[4:6]) * 60
        return seconds - offset if rest[0] == "+" else seconds + offset
    raise ValueError(f"{text!r} is not an RFC 3339 time")


def _whole_seconds(text: str) -> float:
    """Unix seconds of ``2026-01-02T03:04:05``. Raises ``ValueError``."""
    if len(text) == 19 and text[10] == "T":
        with contextlib.suppress(ValueError):  # a leap second, or no time at all
            return datetime.fromisoformat(text + "+00:00").timestamp()
    import calendar  # with strptime slow to load, and rarely needed

    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
