"""What a mutating policy's expression makes of an object: a merge by its schema, or a JSON patch."""

from __future__ import annotations

from typing import Any

from sublet.machinery import codec, typed
from sublet.machinery.cel.values import Duration, Opaque, Optional, Struct, Timestamp
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema


class ApplyError(ValueError):
    """The configuration cannot be applied; says where and why."""


def plain(value: Any, path: str = "") -> Any:
    """A value of the expression language as JSON. ``Object`` types must be named after where they stand: below
    ``path`` (``Object``), or else below the outermost one."""
    if isinstance(value, Struct):
        if value.name.partition(".")[0] == "Object":
            path = path or value.name
            if value.name != path:
                raise ApplyError(
                    f'type mismatch: unexpected type name "{value.name}", expected "{path}", which matches field name '
                    "path from root Object type"
                )
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
    if found := typed.problems(configuration, schema):
        why = typed.listed(found)
        raise ApplyError(f"error applying patch: failed to convert patch object to typed object: {why}")
    for key in ("apiVersion", "kind"):
        if key in configuration and configuration[key] != live.get(key):
            raise ApplyError(f"{key} may not be changed")
    made: Object = codec.copied(_merge(live, configuration, schema, ""))
    return made


def _merge(live: Any, laid: Any, schema: Schema | None, path: str) -> Any:
    if isinstance(laid, dict):
        if schema is not None and schema.map_type == "atomic":
            raise _atomic(path or ".")
        base = live if isinstance(live, dict) else {}
        merged = dict(base)
        for key, item in laid.items():
            child = None if schema is None else schema.child(key)
            merged[key] = _merge(base.get(key), item, child, f"{path}.{key}")
        return merged
    if isinstance(laid, list):
        return _merge_lists(live if isinstance(live, list) else [], laid, schema, path)
    return laid


def _atomic(path: str) -> ApplyError:
    return ApplyError(
        f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {path}"
    )


def _merge_lists(live: list[Any], laid: list[Any], schema: Schema | None, path: str) -> list[Any]:
    if schema is None or schema.list_type == "atomic":
        raise _atomic(path)
    if schema.list_type == "set":
        return [*live, *(item for item in laid if item not in live)]
    merged = list(live)
    places: dict[str, list[int]] = {}
    for index, item in enumerate(live):
        places.setdefault(_key(item, schema), []).append(index)
    gone: set[int] = set()
    for item in laid:
        found = places.setdefault(_key(item, schema), [])
        if not found:
            found.append(len(merged))
            merged.append(None)
        place, *again = found
        # What stands there several times is merged with none of them, and stands there once from then on.
        base = None if again else merged[place]
        merged[place] = _merge(base, item, schema.items, f"{path}[{place}]")
        gone.update(again)
        del found[1:]
    return [item for index, item in enumerate(merged) if index not in gone]


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
