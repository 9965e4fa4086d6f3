"""Structural schemas of custom resources at work: defaults, nulls, keys of lists, embedded resources (reference B.18).

Pruning is :func:`sublet.machinery.strict.prune`; types, bounds and the like are ``crd_values``'; expressions
(``x-kubernetes-validations``) are ``crd_cel``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.apiserver import objectmeta
from sublet.machinery import codec, names, strict
from sublet.machinery.schema import Schema
from sublet.machinery.status import FieldError, duplicate, invalid, required

_LARGEST = (1 << 31) - 1


# -- defaults --


def default(value: Any, schema: Schema) -> None:
    """Fills in defaults, in place. A null where the schema allows none counts as absent: it gives way to the default,
    or goes."""
    if isinstance(value, dict):
        for name, child in _with_defaults(schema):
            if name not in value or (value[name] is None and not child.nullable):
                value[name] = codec.copied(child.default)
        nulls = []
        for name, item in value.items():
            stated = schema.child(name)
            if stated is None:
                continue
            if item is None and not stated.nullable:
                nulls.append((name, stated))
            elif isinstance(item, (dict, list)):
                default(item, stated)
        for name, stated in nulls:
            if stated.default is None:
                del value[name]
            else:
                value[name] = codec.copied(stated.default)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            if item is None and not schema.items.nullable and schema.items.default is not None:
                value[index] = item = codec.copied(schema.items.default)
            default(item, schema.items)


def _with_defaults(schema: Schema) -> Sequence[tuple[str, Schema]]:
    found: Sequence[tuple[str, Schema]] | None = schema.__dict__.get("_with_defaults")
    if found is None:
        found = [(name, child) for name, child in schema.properties.items() if child.default is not None]
        schema.__dict__["_with_defaults"] = found
    return found


# -- keys of lists --


def list_errors(value: Any, schema: Schema, path: str = "") -> list[FieldError]:
    """Where lists of type ``set`` or ``map`` hold the same thing twice; each once, at its second place."""
    errors: list[FieldError] = []
    _walk_lists(value, schema, path, errors)
    return errors


def _walk_lists(value: Any, schema: Schema, path: str, errors: list[FieldError]) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, (dict, list)):
                child, where = _below(schema, name, path)
                if child is not None:
                    _walk_lists(item, child, where, errors)
    elif isinstance(value, list):
        if schema.list_type == "set":
            errors += _repeated(value, path)
        elif schema.list_type == "map":
            errors += _repeated_keys(value, schema.list_keys, path)
        if schema.items is not None:
            for index, item in enumerate(value):
                _walk_lists(item, schema.items, f"{path}[{index}]", errors)


def _below(schema: Schema, name: str, path: str) -> tuple[Schema | None, str]:
    """(the schema of a field or of a key of a map, its path)."""
    child = schema.properties.get(name)
    if child is None:
        return schema.additional, f"{path}[{name}]"
    return child, f"{path}.{name}" if path else name


def _repeated_keys(value: Sequence[Any], keys: Sequence[str], path: str) -> list[FieldError]:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            return [invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")]
    return _repeated(
        [{key: item[key] for key in keys if key in item} if item else {} for item in value], path
    )


def _repeated(value: Sequence[Any], path: str) -> list[FieldError]:
    seen: dict[str, int] = {}
    errors = []
    for index, item in enumerate(value):
        encoded = codec.go_json(item)
        seen[encoded] = seen.get(encoded, 0) + 1
        if seen[encoded] == 2:
            errors.append(duplicate(f"{path}[{index}]", sorted_keys(item)))
    return errors


def sorted_keys(value: Any) -> Any:
    """A value as Go shows it: it knows no order of keys."""
    return codec.decode_json(codec.go_json(value)) if isinstance(value, (dict, list)) else value


# -- embedded resources --


def embedded_errors(
    value: Any, schema: Schema, object_meta: Callable[[], Schema], path: str = ""
) -> list[FieldError]:
    """What is wrong with apiVersion, kind and metadata of embedded resources.

    ``object_meta``: the schema of ObjectMeta.
    """
    errors: list[FieldError] = []
    _walk_embedded(value, schema, path, object_meta, errors)
    return errors


def _walk_embedded(
    value: Any, schema: Schema, path: str, meta: Callable[[], Schema], errors: list[FieldError]
) -> None:
    if isinstance(value, dict):
        if schema.embedded_resource:
            errors += _type_errors(value, path)
            if "metadata" in value:
                errors += _metadata_errors(value["metadata"], f"{path}.metadata", meta())
        for name, item in value.items():
            if isinstance(item, (dict, list)):
                child, where = _below(schema, name, path)
                if child is not None:
                    _walk_embedded(item, child, where, meta, errors)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            _walk_embedded(item, schema.items, f"{path}[{index}]", meta, errors)


def _type_errors(value: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for key in ("apiVersion", "kind"):
        stated = value.get(key)
        where = f"{path}.{key}"
        if key in value and not isinstance(stated, str):
            errors.append(invalid(where, stated, "must be a string"))
        elif not stated:
            errors.append(required(where))
        elif key == "apiVersion" and stated.count("/") > 1:
            errors.append(invalid(where, stated, f"unexpected GroupVersion string: {stated}"))
        elif key == "kind" and (wrong := names.dns1035_label(stated.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            errors.append(invalid(where, stated, why))
    return errors


def _metadata_errors(metadata: Any, path: str, meta: Schema) -> list[FieldError]:
    found = strict.check(codec.copied(metadata), meta)
    if found.errors:
        return [invalid(path, sorted_keys(metadata), found.errors[0])]
    return objectmeta.validate_embedded(metadata or {}, path)


# -- what the scale subresource reads --


def scale_errors(obj: Mapping[str, Any], paths: Mapping[str, str], *, status_only: bool) -> list[FieldError]:
    """Whether the numbers and the selector that the scale subresource shows are some."""
    errors: list[FieldError] = []
    stated = ("statusReplicasPath",) if status_only else ("specReplicasPath", "statusReplicasPath")
    for key in stated:
        path = paths.get(key) or ""
        if path:
            errors += _replica_errors(_at(obj, path), path)
    path = paths.get("labelSelectorPath") or ""
    value = _at(obj, path) if path else None
    if value is not None and not isinstance(value, str):
        errors.append(invalid(path, "", f"{path} accessor error: {_shown(value)} is of the type {_go_type(value)}, expected string"))  # fmt: skip
    return errors


def _replica_errors(value: Any, path: str) -> list[FieldError]:
    if value is None:
        return []
    if not isinstance(value, int) or isinstance(value, bool):
        return [invalid(path, 0, f"{path} accessor error: {_shown(value)} is of the type {_go_type(value)}, expected int64")]  # fmt: skip
    if value < 0:
        return [invalid(path, value, "should be a non-negative integer")]
    if value > _LARGEST:
        return [invalid(path, value, f"should be less than or equal to {_LARGEST}")]
    return []


def _at(obj: Mapping[str, Any], path: str) -> Any:
    found: Any = obj
    for step in path.removeprefix(".").split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(step)
    return found


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else codec.encode_json(value).decode()


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    kinds: dict[type, str] = {
        str: "string", int: "int64", float: "float64", dict: "map[string]interface {}", list: "[]interface {}",
    }  # fmt: skip
    return kinds.get(type(value), "<nil>")
