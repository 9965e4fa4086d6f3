"""Bodies for any resource, made from the published OpenAPI document: mostly right, and then broken in one place."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

WORDS = (
    "a", "web", "default", "kube-system", "", "A b", "x" * 64, "x" * 300, "10.0.0.1", "::1", "10.0.0.0/24", "80%",
    "100m", "1Gi", "-1", "1e400", "999999999999999999999", "http", "TCP", "Always", "*", "/", "/a/../b", "a/b",
    "example.com", "example.com/x", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000001Z", "bm90aGluZw==", "%zz",
    "\x00", "é", "😀", "\u202e", "${x}", "{{x}}", "self.x", "(((((a)*)*)*)*)*$", "1h", "v1", "apps/v1",
    "kubernetes.io/hostname", "Exists", "In", "metadata.name", "status.phase=Running", "null", "true",
)  # fmt: skip
NUMBERS = (
    0,
    1,
    2,
    80,
    443,
    3600,
    65535,
    65536,
    -1,
    -(2**31),
    2**31 - 1,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    10**30,
)
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e300, 10**30, "", "x", "\x00", "x" * 5000, [], [[]], [None], [1, "a"], {}, {"": {}},
    {"a": None}, {"x": {"y": {"z": []}}}, {"\x00": 1}, {"$patch": "delete"}, {"$patch": "x"}, {"$retainKeys": 1},
    {"f:x": {}},
)  # fmt: skip
DEPTH = 7


class Bodies:
    """Makes values after the schemas of one OpenAPI v3 document."""

    def __init__(self, components: Mapping[str, Any], rng: random.Random) -> None:
        self._components = components
        self._rng = rng

    def like(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value that the schema would take, most of the time."""
        rng = self._rng
        schema = self._resolved(schema)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        if (
            schema.get("x-kubernetes-int-or-string")
            or schema.get("format") == "int-or-string"
            or "oneOf" in schema
        ):
            return rng.choice((rng.choice(NUMBERS), rng.choice(WORDS)))
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return [
                    self.like(schema.get("items") or {}, depth + 1) for _ in range(rng.choice((0, 1, 1, 2)))
                ]
            case "integer":
                return rng.choice(NUMBERS[:11]) if rng.random() < 0.9 else rng.choice(NUMBERS)
            case "number":
                return rng.choice((0, 0.5, 1, 1e9, -3.25))
            case "boolean":
                return rng.random() < 0.5
            case "string":
                return rng.choice(WORDS)
        return rng.choice(({}, "x", 1, {"a": 1}))

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while True:
            if "$ref" in schema:
                schema = self._components[schema["$ref"].rpartition("/")[2]]
            elif schema.get("allOf"):
                schema = {
                    **self._resolved(schema["allOf"][0]),
                    **{k: v for k, v in schema.items() if k == "enum"},
                }
            else:
                return schema

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        rng = self._rng
        properties = schema.get("properties")
        if not properties:
            inner = schema.get("additionalProperties")
            if not isinstance(inner, Mapping):
                return {}
            return {rng.choice(WORDS[:20]): self.like(inner, depth + 1) for _ in range(rng.choice((0, 1, 2)))}
        required = set(schema.get("required") or ())
        chance = 0.45 if depth < 3 else 0.2
        if depth >= DEPTH:
            chance = 0.0
        return {
            name: self.like(child, depth + 1)
            for name, child in properties.items()
            if depth < DEPTH + 3 and (name in required or rng.random() < chance)
        }

    def broken(self, value: Any) -> Any:
        """The same with something wrong in one to three places."""
        for _ in range(self._rng.choice((1, 1, 2, 3))):
            value = self._break(value)
        return value

    def _break(self, value: Any) -> Any:
        rng = self._rng
        if isinstance(value, dict) and value and rng.random() < 0.85:
            key = rng.choice(list(value))
            if rng.random() < 0.1:
                return {**value, rng.choice(WORDS): rng.choice(WRONG)}
            return {**value, key: self._break(value[key])}
        if isinstance(value, list) and value and rng.random() < 0.85:
            index = rng.randrange(len(value))
            return [*value[:index], self._break(value[index]), *value[index + 1 :]]
        return rng.choice(WRONG)


MEANT = (
    b"resourceVersion should not be set", b"Too large resource version", b"allotted timeout", b"replicas field",
    b"failed to create typed patch object", b"failed to convert new object", b"unknown patch type",
    b"does not contain declared merge key", b"merging lists cannot yet be specified", b"The order in patch list",
    b"expected a []interface {}, but received",
)  # fmt: skip
"""What Kubernetes answers with 500 and above too."""
