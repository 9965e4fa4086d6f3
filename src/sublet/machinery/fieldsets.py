"""Sets of field paths in the form of FieldsV1: ``{"f:spec": {"f:replicas": {}}}``.

A node without children is a member; ``"."`` marks a node that is a member and has children. Sets are never changed in
place: operations return their input where nothing changes, so ``is`` tells. None stands for the empty set where a node
could be meant. Source: structured-merge-diff's fieldpath package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Fields = dict[str, Any]

LEAF: Fields = {}
"""A member without children; never changed."""


def _is_member(node: Fields) -> bool:
    return not node or "." in node


def union(a: Fields, b: Fields) -> Fields:
    """Of two whole sets (whose roots are no members)."""
    if not a:
        return b
    result: Fields | None = None
    for key, other in b.items():
        own = a.get(key)
        merged = other if own is None else own if own is other else _union(own, other)
        if merged is not own:
            if result is None:
                result = dict(a)
            result[key] = merged
    return a if result is None else result


def _union(a: Fields, b: Fields) -> Fields:
    if not a:
        return a if not b else b if "." in b else {".": LEAF, **b}
    if not b:
        return a if "." in a else {".": LEAF, **a}
    return union(a, b)


def difference(a: Fields, b: Fields) -> Fields:
    """The members of ``a`` that are not members of ``b``; both whole sets."""
    if not a or not b:
        return a
    result: Fields | None = None
    for key in b if len(b) < len(a) else tuple(a):
        own, other = a.get(key), b.get(key)
        if own is None or other is None:
            continue
        left = _difference(own, other)
        if left is own:
            continue
        if result is None:
            result = dict(a)
        if left is None:
            del result[key]
        else:
            result[key] = left
    return a if result is None else result


def _difference(a: Fields, b: Fields) -> Fields | None:
    """Of two nodes; None when nothing is left."""
    if not a:
        return None if _is_member(b) else a
    if not b:
        if "." not in a:
            return a
        left = {key: child for key, child in a.items() if key != "."}
        return left or None
    result = difference(a, b)  # "." is a leaf like any other: it goes when both have it
    if not result:
        return None
    return LEAF if len(result) == 1 and "." in result else result


def intersection(a: Fields, b: Fields) -> Fields:
    """The members of both; both whole sets."""
    result: Fields = {}
    for key in a if len(a) < len(b) else b:
        own, other = a.get(key), b.get(key)
        if own is not None and other is not None:
            common = _intersection(own, other)
            if common is not None:
                result[key] = common
    return result


def _intersection(a: Fields, b: Fields) -> Fields | None:
    if not a:
        return LEAF if _is_member(b) else None
    if not b:
        return LEAF if "." in a else None
    result = intersection(a, b)
    if not result:
        return None
    return LEAF if len(result) == 1 and "." in result else result


def same(a: Fields, b: Fields) -> bool:
    return a == b


def without(a: Fields, path: tuple[str, ...]) -> Fields:
    """``a`` without that path and everything below it."""
    child = a.get(path[0])
    if child is None:
        return a
    rest = without(child, path[1:]) if len(path) > 1 else None
    if rest is child:
        return a
    result = {key: node for key, node in a.items() if key != path[0]}
    if rest:
        result[path[0]] = rest
    return result


def ordered(a: Fields) -> Fields:
    """The set in the order in which it is written: ``"."`` first, fields by name, items by their keys' values.

    Clients of Go compare the bytes. Source: structured-merge-diff's fieldpath/element.go.
    """
    keys = sorted(a)
    if len(keys) > 1 and keys[-1][0] != "f" and any(map(_is_numbered, keys)):
        keys.sort(key=_place)
    result = dict.fromkeys(keys, LEAF)
    for key, child in a.items():
        if child:
            result[key] = ordered(child)
    return result


_is_numbered = re.compile(r'i:|v:[^"]|k:.*":[^"]').match
_KINDS = {"f": 0, "k": 1, "v": 2, "i": 3}


def _place(element: str) -> tuple[Any, ...]:
    if element == ".":
        return (-1,)
    kind, _, rest = element.partition(":")
    if kind == "k":
        return (1, [(name, *_rank(value)) for name, value in sorted(json.loads(rest).items())])
    if kind == "v":
        return (2, *_rank(json.loads(rest)))
    return (_KINDS[kind], int(rest) if kind == "i" else rest)


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers come before texts, those before everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 2, json.dumps(value, sort_keys=True)
    return (1, value) if isinstance(value, str) else (0, value)


def only(a: Fields, path: tuple[str, ...]) -> Fields:
    """What ``a`` has at and below a path, whose elements may be ``*``."""
    result: Fields = {}
    for key in a if path[0] == "*" else (path[0],):
        child = a.get(key)
        if child is None or key == ".":
            continue
        if len(path) == 1:
            result[key] = child
        elif inner := only(child, path[1:]):
            result[key] = inner
    return result


def paths(fields: Fields, prefix: str = "") -> Iterator[str]:
    """The members as Kubernetes prints them: ``.spec.containers[name="a"].image``; sorted."""
    for key in sorted(fields):
        if key == ".":
            continue
        path = prefix + shown(key)
        child = fields[key]
        if _is_member(child):
            yield path
        yield from paths(child, path)


def shown(element: str) -> str:
    """One path element: ``.image``, ``[name="a"]``, ``[="value"]`` or ``[0]``."""
    kind, _, rest = element.partition(":")
    match kind:
        case "f":
            return f".{rest}"
        case "k":
            keys = json.loads(rest)
            return (
                "["
                + ",".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in sorted(keys.items()))
                + "]"
            )
        case "v":
            return f"[={rest}]"
    return f"[{rest}]"


def valid(fields: object) -> bool:
    """Whether something a client sent is a set of fields."""
    if not isinstance(fields, dict):
        return False
    for key, child in fields.items():
        if key != "." and (key[:2] not in ("f:", "k:", "v:", "i:") or not _readable(key)):
            return False
        if not valid(child):
            return False
    return True


def _readable(element: str) -> bool:
    try:
        if element[0] == "k":
            return isinstance(json.loads(element[2:]), dict)
        if element[0] == "v":
            json.loads(element[2:])
    except ValueError:
        return False
    return element[0] != "i" or element[2:].isdigit()
