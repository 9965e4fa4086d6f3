"""Keys that a JSON object of a request repeats, found in the text: the decoded value shows only the last of them.

Source: sigs.k8s.io/json, whose strict decoder tells of unknown and repeated fields in the order of the document;
reference B.9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from sublet.machinery.schema import Schema

_KEY_TOKEN = re.compile(rb'"[ \t\r\n]*:')


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its members in order, repeated ones included."""


def duplicates(data: bytes, decoded: Any) -> list[str]:
    """``duplicate field "spec.replicas"`` for every key that a JSON object of ``data`` repeats.

    ``decoded`` is what the document decoded to, before any change: as many keys there as in the text means none.
    """
    members = _members(data, decoded)
    found: list[str] = []
    if members is not None:
        _walk(members, None, [], found)
    return list(dict.fromkeys(found))


def problems(data: bytes, decoded: Any, schema: Schema) -> list[str]:
    """Unknown and repeated fields of a built-in object in the order of the document, when any is repeated; else ``[]``.

    A repeated field that is unknown is told of as unknown.
    """
    members = _members(data, decoded)
    found: list[str] = []
    if members is not None:
        _walk(members, schema, [], found)
    return list(dict.fromkeys(found))


def _members(data: bytes, decoded: Any) -> Any:
    if len(_KEY_TOKEN.findall(data)) == _key_count(decoded):
        return None
    try:
        return json.loads(data, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None


def _walk(value: Any, schema: Schema | None, path: list[Any], found: list[str]) -> None:
    """``schema`` None: an object of any shape, as the body of a merge patch is."""
    if isinstance(value, _Pairs):
        properties = schema.properties if schema is not None else {}
        below = schema.additional if schema is not None and not properties else None
        seen: set[str] = set()
        for key, child in value:
            if properties and key not in properties:
                found.append(f'unknown field "{shown_path([*path, key])}"')
                continue
            if key in seen:
                found.append(f'duplicate field "{shown_path([*path, key])}"')
            seen.add(key)
            node = properties[key] if properties else below
            if schema is None or node is not None:
                _walk(child, node, [*path, key], found)
    elif isinstance(value, list):
        items = schema.items if schema is not None else None
        if schema is None or items is not None:
            for index, item in enumerate(value):
                _walk(item, items, [*path, index], found)


def _key_count(value: Any) -> int:
    count = 0
    left = [value]
    while left:
        node = left.pop()
        if type(node) is dict:
            count += len(node)
            left.extend(node.values())
        elif type(node) is list:
            left.extend(node)
    return count


def shown_path(path: Sequence[Any]) -> str:
    """``spec.containers[0].image`` of field names, indices and (one-tuples) map keys."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step[0] if isinstance(step, tuple) else step
            text += f".{name}" if text else name
    return text
