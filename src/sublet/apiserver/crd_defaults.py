"""Whether the defaults that a schema states fit it (reference B.18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from sublet.apiserver import crd_schema, crd_values
from sublet.apiserver.crd_structural import has_rules
from sublet.machinery import codec, strict
from sublet.machinery.schema import Schema
from sublet.machinery.status import FieldError, aggregated, invalid

Document = Mapping[str, Any]

_EMBEDDED = "x-kubernetes-embedded-resource"
_RULES_BUDGET = 10_000_000
"""Of actual cost: for the rules of all defaults of one schema."""
_ITEM = None
"""The step from a list to its items."""


def default_errors(root: Document, path: str, object_meta: Callable[[], Schema]) -> list[FieldError]:
    """What is wrong with the defaults of a structural schema. ``object_meta``: the schema of ObjectMeta."""
    return [*_Walk(object_meta).node(root, path, _Place({**root, _EMBEDDED: True}))]


class _Place(Struct, frozen=True):
    """Where a part of a schema is: in which resource, the schema's root or an embedded one, how far below."""

    resource: Document
    steps: Sequence[str | None] = ()
    in_meta: bool = False
    """Within apiVersion, kind or metadata."""

    def below(self, step: str | None) -> _Place:
        of_resource = not self.steps and step in ("apiVersion", "kind", "metadata")
        return _Place(self.resource, (*self.steps, step), self.in_meta or of_resource)

    def around(self, value: Any) -> dict[str, Any]:
        """A resource with that value at this place."""
        for step in reversed(self.steps):
            value = [value] if step is _ITEM else {step: value}
        return {**value, "apiVersion": "validation/v1", "kind": "Validation"}


class _Walk:
    def __init__(self, meta: Callable[[], Schema]) -> None:
        self._meta = meta
        self._budget: float = _RULES_BUDGET

    def node(self, node: Document, path: str, place: _Place) -> Iterator[FieldError]:
        if node.get(_EMBEDDED):
            place = _Place(node)
        if node.get("default") is not None:
            yield from self._errors(node, path, place)
        # Defaults of maps' values are never filled in.
        if isinstance(node.get("items"), dict) and self._budget >= 0:
            yield from self.node(node["items"], f"{path}.items", place.below(_ITEM))
        for name, child in (node.get("properties") or {}).items():
            if self._budget < 0:
                return
            yield from self.node(child, f"{path}.properties[{name}]", place.below(name))

    def _errors(self, node: Document, path: str, place: _Place) -> list[FieldError]:
        value, where, schema = node["default"], f"{path}.default", Schema(node)
        errors: list[FieldError] = []
        if place.in_meta:
            whole, resource = place.around(value), Schema(place.resource)
            told = crd_schema.embedded_errors(whole, resource, self._meta)
            if told:
                told = [FieldError(each.reason, each.field.removeprefix("."), each.body) for each in told]
                return [invalid(where, value, f"must result in valid metadata: {aggregated(told)}")]
        else:
            pruned = {"value": codec.copied(value)}
            strict.prune(pruned, Schema({"properties": {"value": node}}))
            if not codec.same(pruned["value"], value):
                errors.append(invalid(where, crd_schema.sorted_keys(value), "must not have unknown fields"))
            embedded = crd_schema.embedded_errors(value, schema, self._meta, where)
            if embedded:
                return [*errors, *embedded]
        return [*errors, *(crd_values.validate(value, schema, base=where) or self._broken_rules(node, path))]

    def _broken_rules(self, node: Document, path: str) -> list[FieldError]:
        if not has_rules(node):
            return []
        from sublet.apiserver import crd_cel  # only where there are rules

        errors, self._budget = crd_cel.default_errors(
            node, path, node["default"], f"{path}.default", self._budget
        )
        return errors
