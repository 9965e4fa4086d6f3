"""Whether the defaults that a schema states fit it (reference B.18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sublet.apiserver import crd_schema, crd_values
from sublet.apiserver.crd_structural import children
from sublet.machinery import codec, strict
from sublet.machinery.schema import Schema
from sublet.machinery.status import FieldError, invalid

Document = Mapping[str, Any]


def default_errors(root: Document, path: str, object_meta: Callable[[], Schema]) -> list[FieldError]:
    """What is wrong with the defaults of a structural schema. ``object_meta``: the schema of ObjectMeta."""
    return [*_walk(root, path, object_meta)]


def _walk(node: Document, path: str, meta: Callable[[], Schema]) -> Iterator[FieldError]:
    if node.get("default") is not None:
        yield from _errors(node, path, meta)
    for where, child in children(node, path):
        if not where.endswith(".additionalProperties"):  # defaults of maps' values are never filled in
            yield from _walk(child, where, meta)


def _errors(node: Document, path: str, meta: Callable[[], Schema]) -> list[FieldError]:
    value, where, schema = node["default"], f"{path}.default", Schema(node)
    errors: list[FieldError] = []
    pruned = {"value": codec.copied(value)}
    strict.prune(pruned, Schema({"properties": {"value": node}}))
    if not codec.same(pruned["value"], value):
        errors.append(invalid(where, value, "must not have unknown fields"))
    embedded = crd_schema.embedded_errors(value, schema, meta, where)
    return [*errors, *(embedded or crd_values.validate(value, schema, base=where))]
