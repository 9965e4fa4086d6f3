"""How key management services are used, under upstream's names (``apiserver_envelope_encryption_…``)."""

from __future__ import annotations

from collections.abc import Iterator

from sublet.apiserver.reloads import hashed
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import Counter, Histograms, heading, label_text

_BUCKETS = tuple(0.0001 * 2**step for step in range(20))
_KEYS = 10
"""Ids of keys that are told apart, the latest ones; older ones are forgotten, as upstream."""
_NAME = "apiserver_envelope_encryption_"


class KMSMetrics:
    """Of all services of one server. ``server`` is the name of the API server's Lease."""

    def __init__(self, clock: Clock, server: str) -> None:
        self._clock = clock
        self._server = ("apiserver_id_hash", hashed(server.encode()))
        self._uses: dict[str, tuple[int, float]] = {}
        self._stated: dict[str, float] = {}
        self._latency = Histograms(
            f"{_NAME}kms_operations_latency_seconds",
            "[ALPHA] KMS operation duration with gRPC error code status total.",
            _BUCKETS,
        )
        self._invalid = Counter(
            f"{_NAME}invalid_key_id_from_status_total",
            "[ALPHA] Number of times an invalid keyID is returned by the Status RPC call split by error.",
        )
        self.sizes: dict[str, int] = {}
        """Provider -> how many opened sources of keys it has."""

    def used(self, way: str, provider: str, key_id: str) -> None:
        """``way``: ``from_storage`` or ``to_storage``."""
        labels = label_text(
            (
                self._server, ("key_id_hash", hashed(key_id.encode())), ("provider_name", provider),
                ("transformation_type", way),
            )
        )  # fmt: skip
        count, _ = self._uses.pop(labels, (0, 0.0))
        self._uses[labels] = (count + 1, self._clock.now())
        if len(self._uses) > _KEYS:
            del self._uses[next(iter(self._uses))]

    def stated(self, provider: str, key_id: str) -> None:
        """A service said that this is its key."""
        labels = label_text(
            (self._server, ("key_id_hash", hashed(key_id.encode())), ("provider_name", provider))
        )
        self._stated.pop(labels, None)
        self._stated[labels] = self._clock.now()
        if len(self._stated) > _KEYS:
            del self._stated[next(iter(self._stated))]

    def invalid(self, provider: str, key_id: str) -> None:
        """A service said that its key is one that cannot be."""
        error = "too_long" if key_id else "empty"
        self._invalid.add(label_text((("error", error), ("provider_name", provider))))

    def called(self, provider: str, method: str, code: str, seconds: float) -> None:
        labels = (("grpc_status_code", code), ("method_name", method), ("provider_name", provider))
        self._latency.observe(label_text(labels), seconds)

    def lines(self) -> Iterator[str]:
        name = f"{_NAME}key_id_hash_total"
        what = (
            "Number of times a keyID is used split by transformation type, provider, and apiserver identity."
        )
        yield from heading(name, f"[ALPHA] {what}", "counter")
        for labels, (count, _) in self._uses.items():
            yield f"{name}{{{labels}}} {count}"
        name = f"{_NAME}key_id_hash_last_timestamp_seconds"
        yield from heading(name, "[ALPHA] The last time in seconds when a keyID was used.", "gauge")
        for labels, (_, moment) in self._uses.items():
            yield f"{name}{{{labels}}} {moment:.3f}"
        name = f"{_NAME}key_id_hash_status_last_timestamp_seconds"
        what = "The last time in seconds when a keyID was returned by the Status RPC call."
        yield from heading(name, f"[ALPHA] {what}", "gauge")
        for labels, moment in self._stated.items():
            yield f"{name}{{{labels}}} {moment:.3f}"
        name = f"{_NAME}dek_source_cache_size"
        what = "Number of records in data encryption key (DEK) source cache."
        yield from heading(name, f"[ALPHA] {what}", "gauge")
        for provider, size in self.sizes.items():
            yield f"{name}{{{label_text((('provider_name', provider),))}}} {size}"
        yield from self._invalid.lines()
        yield from self._latency.lines()
