"""Whether an openAPIV3Schema is structural (reference B.18).

A structural schema says of every field what it is outside of ``allOf``, ``anyOf``, ``oneOf`` and ``not``; inside them
stand rules for values alone. Texts and order (sorted) are upstream's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sublet.machinery import regexp
from sublet.machinery.status import FieldError, field_forbidden, invalid, required

Document = Mapping[str, Any]

_ROOT, _ITEM, _FIELD = range(3)
_UNTYPED = {
    _ROOT: "must not be empty at the root",
    _ITEM: "must not be empty for specified array items",
    _FIELD: "must not be empty for specified object fields",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NO_STRUCTURE = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
"""What has no place inside a junctor, and what is said of it."""
_MEANINGFUL_WHEN_EMPTY = frozenset((
    "additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type",
))  # fmt: skip
JUNCTORS = ("allOf", "anyOf", "oneOf")


def structural_errors(root: Document, path: str) -> list[FieldError]:
    """Everything that keeps a schema from being structural, sorted by text."""
    errors = [*_invariants(root, _ROOT, path), *_completeness(root, root, path, path)]
    return sorted(errors, key=str)


def junctors(node: Document, path: str) -> Iterator[tuple[str, Document]]:
    """The parts of ``allOf``, ``anyOf``, ``oneOf`` and ``not`` with their paths."""
    for key in JUNCTORS:
        for index, part in enumerate(node.get(key) or ()):
            yield f"{path}.{key}[{index}]", part
    if isinstance(node.get("not"), dict):
        yield f"{path}.not", node["not"]


def children(node: Document, path: str) -> Iterator[tuple[str, Document]]:
    """The parts of the structure below a node with their paths."""
    for name, child in (node.get("properties") or {}).items():
        yield f"{path}.properties[{name}]", child
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield f"{path}.{key}", node[key]


# -- invariants of the structure --


def _invariants(node: Document, level: int, path: str) -> Iterator[FieldError]:
    kind = node.get("type") or ""
    if kind == "array" and not isinstance(node.get("items"), dict):
        yield required(f"{path}.items", "must be specified")
    for where, child in children(node, path):
        yield from _invariants(child, _ITEM if where.endswith(".items") else _FIELD, where)
    if level == _ROOT and node.get("additionalProperties") is not None:
        yield field_forbidden(f"{path}.additionalProperties", "must not be used at the root")
    yield from _extensions(node, path)
    yield from _values(node, path, outside=True)
    yield from _type(node, kind, level, path)
    yield from _embedded(node, path)
    yield from _meta(node, level, path)


def _extensions(node: Document, path: str) -> Iterator[FieldError]:
    if not node.get("x-kubernetes-int-or-string"):
        return
    for key in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if node.get(key):
            yield invalid(f"{path}.{key}", True, "must be false if x-kubernetes-int-or-string is true")


def _type(node: Document, kind: str, level: int, path: str) -> Iterator[FieldError]:
    if node.get("x-kubernetes-embedded-resource") and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)
    elif not (
        kind or node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")
    ):
        yield required(f"{path}.type", _UNTYPED[level])
    if level == _ROOT and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")


def _embedded(node: Document, path: str) -> Iterator[FieldError]:
    if not node.get("x-kubernetes-embedded-resource"):
        return
    if node.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield field_forbidden(f"{path}.additionalProperties", why)
    if not node.get("x-kubernetes-preserve-unknown-fields") and not node.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield required(f"{path}.properties", why)


def _meta(node: Document, level: int, path: str) -> Iterator[FieldError]:
    """apiVersion, kind and metadata where they are an object's own: at the root, and in embedded resources."""
    if level != _ROOT and not node.get("x-kubernetes-embedded-resource"):
        return
    properties: Mapping[str, Document] = node.get("properties") or {}
    for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        stated = properties.get(name)
        if stated is not None and stated.get("type") != wanted:
            where = f"{path}.properties[{name}].type"
            yield invalid(where, stated.get("type") or "", f"must be {wanted}")
    metadata = properties.get("metadata")
    if level == _ROOT and metadata is not None and not _restricts_names_alone(metadata):
        why = (
            "must not specify anything other than name and generateName, but metadata is implicitly specified"
        )
        yield field_forbidden(f"{path}.properties[metadata]", why)


def _restricts_names_alone(metadata: Document) -> bool:
    if set(metadata.get("properties") or ()) - {"name", "generateName"}:
        return False
    return not any(value for key, value in metadata.items() if key not in ("type", "default", "properties"))


# -- rules for values --


def _values(node: Document, path: str, *, outside: bool) -> Iterator[FieldError]:
    """Junctors and the pattern of a node. ``outside``: it is no part of a junctor itself, and may be IntOrString."""
    skipped: tuple[str, ...] = ()
    if outside:
        if node.get("anyOf") == _INT_OR_STRING:
            skipped = (f"{path}.anyOf[0]", f"{path}.anyOf[1]")
        all_of = node.get("allOf") or ()
        if all_of and all_of[0].get("anyOf") == _INT_OR_STRING:
            skipped = (*skipped, f"{path}.allOf[0].anyOf[0]", f"{path}.allOf[0].anyOf[1]")
    yield from _parts(node, path, skipped)


def _parts(node: Document, path: str, skipped: tuple[str, ...]) -> Iterator[FieldError]:
    for where, part in junctors(node, path):
        if where not in skipped:
            yield from _nested(part, where, skipped)
    pattern = node.get("pattern")
    if pattern:
        try:
            regexp.compiled(str(pattern))
        except ValueError as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", pattern, why)


def _nested(part: Document, path: str, skipped: tuple[str, ...]) -> Iterator[FieldError]:
    yield from _parts(part, path, skipped)
    for where, child in children(part, path):
        if not where.endswith(".additionalProperties"):
            yield from _nested(child, where, skipped)
    for key, why in _NO_STRUCTURE:
        value = part.get(key)
        if value or (value is not None and key in _MEANINGFUL_WHEN_EMPTY):
            yield field_forbidden(f"{path}.{key}", why)
    if "metadata" in (part.get("properties") or {}):
        yield field_forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


# -- completeness --


def _completeness(value: Document, node: Document | None, where: str, stated: str) -> Iterator[FieldError]:
    """Whether every field that junctors of ``value`` mention stands in the structure ``node`` too.

    Upstream asks this of the junctors at the root alone.
    """
    for path, part in junctors(value, stated):
        yield from _complete(part, node, where, path)


def _complete(part: Document, node: Document | None, where: str, stated: str) -> Iterator[FieldError]:
    if node is None:
        yield required(where, f"because it is defined in {stated}")
        return
    yield from _completeness(part, node, where, stated)
    if isinstance(part.get("items"), dict):
        items = node.get("items")
        found = items if isinstance(items, dict) else None
        yield from _complete(part["items"], found, f"{where}.items", f"{stated}.items")
    structure: Mapping[str, Document] = node.get("properties") or {}
    for name, child in (part.get("properties") or {}).items():
        below = f".properties[{name}]"
        yield from _complete(child, structure.get(name), where + below, stated + below)


def has_rules(node: Document) -> bool:
    """Whether a schema states ``x-kubernetes-validations`` anywhere."""
    if node.get("x-kubernetes-validations"):
        return True
    return any(has_rules(child) for _, child in children(node, ""))
