"""What a mutating policy's expression makes of an object: a merge by its schema, or a JSON patch."""

from __future__ import annotations

from typing import Any

from sublet.machinery import codec
from sublet.machinery.cel.values import Duration, Opaque, Optional, Struct, Timestamp
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema


class ApplyError(ValueError):
    """The configuration cannot be applied; says where and why."""


def plain(value: Any, path: str = "") -> Any:
    """A value of the expression language as JSON. With ``path`` (``Object``), ``Object`` types must be named after
    where they stand."""
    if isinstance(value, Struct):
        if path and value.name != path and value.name.partition(".")[0] == "Object":
            raise ApplyError(f'type mismatch: unexpected type name "{value.name}", expected "{path}"')
        return {name: plain(item, f"{path}.{name}" if path else "") for name, item in value.items()}
    if isinstance(value, dict):
        return {str(key): plain(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, path) for item in value]
    if isinstance(value, Optional):
        return plain(value.value, path) if value.present else None
    if isinstance(value, (Timestamp, Duration, Opaque)):
        return str(value)
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


def apply(live: Object, configuration: Any, schema: Schema | None) -> Object:
    """A new object: the configuration laid over the live one, as server-side apply merges.

    Raises :class:`ApplyError` where it would change an atomic list, map or struct.
    """
    if not isinstance(configuration, dict):
        raise ApplyError("the expression did not evaluate to an Object")
    for key in ("apiVersion", "kind"):
        if key in configuration and configuration[key] != live.get(key):
            raise ApplyError(f"{key} may not be changed")
    merged = _merge(live, configuration, schema, "")
    found: Object = codec.copied(merged)
    return found


def _merge(live: Any, laid: Any, schema: Schema | None, path: str) -> Any:
    if isinstance(laid, dict):
        if schema is not None and schema.map_type == "atomic":
            raise _atomic(path or ".")
        base = live if isinstance(live, dict) else {}
        merged = dict(base)
        for key, item in laid.items():
            child = None if schema is None else schema.child(key)
            if child is None and schema is not None and schema.type and not _open(schema):
                raise ApplyError(
                    f"failed to convert patch object to typed object: {path}.{key}: field not declared in schema"
                )
            merged[key] = _merge(base.get(key), item, child, f"{path}.{key}")
        return merged
    if isinstance(laid, list):
        return _merge_lists(live if isinstance(live, list) else [], laid, schema, path)
    return laid


def _atomic(path: str) -> ApplyError:
    return ApplyError(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {path}")


def _open(schema: Schema) -> bool:
    return schema.preserve_unknown or not schema.properties


def _merge_lists(live: list[Any], laid: list[Any], schema: Schema | None, path: str) -> list[Any]:
    if schema is None or schema.list_type == "atomic":
        raise _atomic(path)
    if schema.list_type == "set":
        return [*live, *(item for item in laid if item not in live)]
    items = schema.items
    merged = list(live)
    places = {_key(item, schema): index for index, item in enumerate(live)}
    for item in laid:
        key = _key(item, schema)
        index = places.get(key)
        if index is None:
            places[key] = len(merged)
            merged.append(_merge(None, item, items, f"{path}[{len(merged)}]"))
        else:
            merged[index] = _merge(merged[index], item, items, f"{path}[{index}]")
    return merged


def _key(item: Any, schema: Schema) -> str:
    if not isinstance(item, dict):
        raise ApplyError("an item of a list with keys is no object")
    defaults = {} if schema.items is None else schema.items.properties
    return repr([item.get(k, defaults[k].default if k in defaults else None) for k in schema.list_keys])


def operations(value: Any) -> list[Object]:
    """The JSON patch that a list of ``JSONPatch{}`` stands for."""
    if not isinstance(value, list):
        raise ApplyError("the expression did not evaluate to a list of JSONPatch")
    made = []
    for item in value:
        if not isinstance(item, Struct) or item.name != "JSONPatch":
            raise ApplyError("JSONPatch expressions must be lists of JSONPatch{}")
        made.append({key: plain(field) for key, field in item.items()})
    return made
