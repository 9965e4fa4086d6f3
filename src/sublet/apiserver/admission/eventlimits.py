"""Token buckets for events: what EventRateLimit remembers between two of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from sublet.apiserver.admission.configuration import EventLimit
from sublet.apiserver.admission.framework import Attributes
from sublet.machinery.clock import Clock
from sublet.machinery.tokenbucket import TokenBucket


class EventLimits:
    """The limits of one API server."""

    def __init__(self, limits: Sequence[EventLimit], clock: Clock) -> None:
        self._limits = [(limit, OrderedDict[str, TokenBucket]()) for limit in limits]
        self._clock = clock

    def refusals(self, attributes: Attributes) -> list[str]:
        """Which limits one more event breaks; each that it does not takes a token."""
        now = self._clock.monotonic()
        return [
            f"limit reached on type {limit.type} for key {key}"
            for limit, buckets in self._limits
            if not _take(limit, buckets, key := _key(limit.type, attributes), now)
        ]


def _take(limit: EventLimit, buckets: OrderedDict[str, TokenBucket], key: str, now: float) -> bool:
    bucket = buckets.pop(key, None) or TokenBucket(limit.burst, now)
    buckets[key] = bucket
    while len(buckets) > limit.cache_size:
        buckets.popitem(last=False)
    return bucket.take(now, limit.burst, limit.qps)


def _key(kind: str, attributes: Attributes) -> str:
    match kind:
        case "Namespace":
            return attributes.namespace
        case "User":
            return attributes.user.name
        case "SourceAndObject":
            event = attributes.new()
            source, about = event.get("source") or {}, event.get("involvedObject") or {}
            parts = [source.get("component"), source.get("host")]
            parts += [about.get(key) for key in ("kind", "namespace", "name", "uid", "apiVersion")]
            return "".join(str(part or "") for part in parts)
    return ""
