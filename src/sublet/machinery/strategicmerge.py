"""Strategic merge patches: merges that know from the schema which lists are keyed.

Source: apimachinery's strategicpatch; reference/kubernetes-api.md B.12. Only the patching side is here: clients
make the patches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sublet.machinery.codec import copied, same
from sublet.machinery.gotext import go_type, shown
from sublet.machinery.schema import Schema
from sublet.machinery.status import BadRequest, Invalid, StatusError

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

Map = dict[str, Any]
_Key = Callable[[Any], Any]


def apply(original: Map, patch: Any, schema: Schema | None) -> Map:
    """The object with the patch laid over it.

    Raises :class:`BadRequest` for directives of a wrong form, :class:`Invalid` where kept keys contradict the patch, and
    for everything else that makes no sense a ``StatusError`` of code 500 without a reason, as upstream does.
    """
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch must be a JSON object")
    return _merge_map(copied(original), copied(patch), schema)


def _merge_map(original: Map, patch: Map, schema: Schema | None) -> Map:
    """Both are changed: they are copies already."""
    if _PATCH in patch:
        directive = patch.pop(_PATCH)
        if directive == "replace":
            return {name: _without_directives(value) for name, value in patch.items() if value is not None}
        if directive == "delete":
            return {}
        raise _unknown_directive(directive, patch)
    _retain(original, patch)
    orders = _pop_prefixed(patch, _ORDER)
    for field, values in _pop_prefixed(patch, _DELETE_FROM).items():
        if isinstance(original.get(field), list) and isinstance(values, list):
            original[field] = [item for item in original[field] if not _contains(values, item)]
    for field, order in orders.items():
        _merge_ordered(original, patch, field, order, schema.child(field) if schema else None)
    for field, value in patch.items():
        if value is None:
            original.pop(field, None)
        elif field in original and _are_alike(original[field], value):
            original[field] = _merge_value(original[field], value, schema.child(field) if schema else None)
        elif _has_directive(value):
            original.pop(field, None)  # a directive has nothing to work on
        else:
            original[field] = _without_directives(value)
    return original


def _senseless(why: str) -> StatusError:
    return StatusError(why, code=500, reason="")


def _unknown_directive(directive: Any, patch: Map) -> StatusError:
    return _senseless(f"unknown patch type: {directive!s} in map: {shown({_PATCH: directive, **patch})}")


def _are_alike(one: Any, other: Any) -> bool:
    return any(isinstance(one, kind) and isinstance(other, kind) for kind in (dict, list))


def _merge_value(original: Any, patch: Any, schema: Schema | None) -> Any:
    if isinstance(patch, dict) and isinstance(original, dict):
        if schema is not None and "replace" in schema.patch_strategy:
            return _without_directives(patch)
        return _merge_map(original, patch, schema)
    if isinstance(patch, list) and isinstance(original, list) and schema and "merge" in schema.patch_strategy:
        merged, given = _merge_list(original, patch, schema)
        return _ordered(merged, given, original, _key_of(schema))
    return _without_directives(patch)


def _retain(original: Map, patch: Map) -> None:
    retained = patch.pop(_RETAIN, None)
    if retained is None:
        return
    if not isinstance(retained, list) or not all(isinstance(key, str) for key in retained):
        raise BadRequest("invalid patch format of retainKeys")
    for key in patch:
        if not key.startswith("$") and patch[key] is not None and key not in retained:
            # Upstream's own text for this never reaches the client.
            raise Invalid("the server rejected our request due to an error in our request", with_details=True)
    for key in [key for key in original if key not in retained]:
        del original[key]


def _pop_prefixed(patch: Map, prefix: str) -> dict[str, Any]:
    return {
        key.removeprefix(prefix): patch.pop(key) for key in [key for key in patch if key.startswith(prefix)]
    }


def _merge_ordered(original: Map, patch: Map, field: str, order: Any, schema: Schema | None) -> None:
    """Takes the field out of the patch and merges it so that its items stand in the order given."""
    if schema is None or "merge" not in schema.patch_strategy:
        raise BadRequest(f"{_ORDER}{field} is given, but the list {field!r} is not merged by key or value")
    key = _key_of(schema)
    given, before = patch.pop(field, None), original.get(field)
    for values in (order, before, given):
        if not isinstance(values, list) and (values is not None or values is order):
            raise _senseless(f"expected a []interface {{}}, but received a {go_type(values)}")
    if before is None and given is None:
        return
    if order and given and not _in_order([item for item in given if not _has_directive(item)], order, key):
        raise _senseless(
            f"The order in patch list:\n{shown(given)}\n doesn't match $setElementOrder list:\n{shown(order)}\n"
        )
    merged, _ = _merge_list(list(before or ()), given or [], schema)
    original[field] = _ordered(merged, order, before or [], key)


def _in_order(items: list[Any], order: list[Any], key: _Key) -> bool:
    """Whether the items stand in the order given, which may name others between them."""
    places = iter(order)
    return all(any(same(key(place), key(item)) for place in places) for item in items)


def _has_directive(item: Any) -> bool:
    return isinstance(item, dict) and _PATCH in item


def _key_of(schema: Schema) -> _Key:
    """How items are told apart: by the merge key, or by value in lists of primitives."""
    name = schema.patch_merge_key

    def key(item: Any) -> Any:
        if isinstance(item, dict) and name:
            if item.get(name) is None:
                raise _senseless(f"map: {shown(item)} does not contain declared merge key: {name}")
            return item[name]
        return item

    return key


def _merge_list(original: list[Any], patch: list[Any], schema: Schema) -> tuple[list[Any], list[Any]]:
    """(merged items, in no final order; the patch's items that are no directives)."""
    key = _key_of(schema)
    given = []
    replace = False
    for item in patch:
        directive = item.get(_PATCH) if isinstance(item, dict) else None
        if directive == "delete":
            gone = key(item)
            original = [old for old in original if not same(key(old), gone)]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _senseless("merging lists cannot yet be specified in the patch")
        elif directive is not None:
            raise _unknown_directive(directive, {name: v for name, v in item.items() if name != _PATCH})
        else:
            given.append(item)
    if replace:
        return [_without_directives(item) for item in given], given
    merged = list(original)
    for item in given:
        wanted = key(item)
        at = next((i for i, old in enumerate(merged) if same(key(old), wanted)), None)
        if at is None:
            merged.append(_without_directives(item))
        elif isinstance(item, dict) and isinstance(merged[at], dict):
            merged[at] = _merge_map(copied(merged[at]), dict(item), schema.items)
        else:
            merged[at] = item
    return merged, given


def _ordered(merged: list[Any], order: Sequence[Any], before: list[Any], key: _Key) -> list[Any]:
    """Items named by ``order`` in that order, the others where they stood among them before."""
    wanted = [_hashable(key(item)) for item in order]
    server = [_hashable(key(item)) for item in before]
    named: list[tuple[Any, Any]] = []
    rest: list[tuple[Any, Any]] = []
    for item in merged:
        mark = _hashable(key(item))
        (named if mark in wanted else rest).append((mark, item))
    named.sort(key=lambda pair: wanted.index(pair[0]))
    rest.sort(key=lambda pair: server.index(pair[0]) if pair[0] in server else len(server))
    result = []
    left = right = 0
    while left < len(rest) or right < len(named):
        if right == len(named) or (
            left < len(rest) and _stood_before(server, rest[left][0], named[right][0])
        ):
            result.append(rest[left][1])
            left += 1
        else:
            result.append(named[right][1])
            right += 1
    return result


def _stood_before(server: list[Any], one: Any, other: Any) -> bool:
    return one in server and other in server and server.index(one) < server.index(other)


def _hashable(key: Any) -> Any:
    return (type(key) is bool, key) if not isinstance(key, (dict, list)) else json.dumps(key, sort_keys=True)


def _contains(values: list[Any], item: Any) -> bool:
    return any(same(value, item) for value in values)


def _without_directives(value: Any) -> Any:
    """What is left of a patch value where there is nothing to merge it into: no directives, no nulls in maps."""
    if isinstance(value, dict):
        return {
            name: _without_directives(child)
            for name, child in value.items()
            if child is not None
            and not _has_directive(child)
            and name not in (_PATCH, _RETAIN)
            and not name.startswith((_ORDER, _DELETE_FROM))
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value if not _has_directive(item)]
    return value
