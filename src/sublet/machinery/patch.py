"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386), with the errors the API server answers.

A malformed patch is a :class:`BadRequest`, one that does not fit the object an :class:`Invalid`.
"""

from __future__ import annotations

import re
from typing import Any

from sublet.machinery.codec import copied, encode_json, same
from sublet.machinery.status import BadRequest, Invalid, RequestEntityTooLarge
from sublet.machinery.strict import json_kind

OPERATIONS_LIMIT = 10_000
COPIES_LIMIT = 3 * 1024 * 1024
"""Bytes that the copies of one patch may add: each could double the document."""

_MEMBERS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "test": (),
    "move": ("from",),
    "copy": ("from",),
}
_KNOWN = frozenset(("op", "path", "from", "value"))
_is_index = re.compile(r"-?(0|[1-9][0-9]*)").fullmatch


class _DoesNotApplyError(Exception):
    pass


def json_patch(obj: Any, operations: Any) -> Any:
    """The object after all operations (RFC 6902), which apply in order and all or none."""
    _check(operations)
    result = copied(obj)
    grown = 0
    for operation in operations:
        try:
            _check_members(operation)
            if operation["op"] == "copy":
                grown += len(encode_json(_get(result, operation["from"], "copy")))
                if grown > COPIES_LIMIT:
                    raise _DoesNotApplyError(
                        f"Unable to complete the copy, the accumulated size increase of copy is {grown}, exceeding the "
                        f"limit {COPIES_LIMIT}"
                    )
            result = _apply(result, operation)
        except _DoesNotApplyError as error:
            # Upstream tells no more, and clients compare the whole text; the reason stays in the exception's chain.
            raise Invalid(
                "the server rejected our request due to an error in our request", with_details=True
            ) from error
    return result


def unknown_members(operations: Any) -> list[str]:
    """``json patch unknown field "[0].foo"`` for members that no operation has."""
    return [
        f'json patch unknown field "[{index}].{name}"'
        for index, operation in enumerate(operations)
        if isinstance(operation, dict)
        for name in operation
        if name not in _KNOWN
    ]


def merge_patch(obj: Any, patch: Any) -> Any:
    """The object with the patch laid over it (RFC 7386): null removes, anything but an object replaces."""
    if not isinstance(patch, dict):
        raise BadRequest("a merge patch must be a JSON object")
    return _merge(copied(obj), patch)


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copied(patch)
    if not isinstance(target, dict):
        target = {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _merge(target.get(key), value)
    return target


def _check(operations: Any) -> None:
    if not isinstance(operations, list):
        raise BadRequest("a JSON patch must be a list of operations")
    if len(operations) > OPERATIONS_LIMIT:
        raise RequestEntityTooLarge(
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{OPERATIONS_LIMIT}, got {len(operations)}"
        )
    for operation in operations:
        if not isinstance(operation, dict):
            raise BadRequest(
                f"error decoding patch: json: cannot unmarshal {json_kind(operation)} into Go value of type handlers.jsonPatchOp"
            )
        for member, name in (("op", "op"), ("path", "path"), ("from", "from")):
            if not isinstance(operation.get(member, ""), str):
                raise BadRequest(
                    f"error decoding patch: json: cannot unmarshal {json_kind(operation[member])} into Go struct field "
                    f"jsonPatchOp.{name} of type string"
                )


def _check_members(operation: dict[str, Any]) -> None:
    kind = operation.get("op")
    if kind not in _MEMBERS:
        raise _DoesNotApplyError(f"Unexpected kind: {kind}")
    for member in ("path", *_MEMBERS[kind]):
        if member not in operation:
            raise _DoesNotApplyError(f"{kind} operation lacks {member}: missing value")
    for member in ("path", "from"):
        pointer = operation.get(member, "")
        if pointer and pointer[0] != "/":
            raise _DoesNotApplyError(f"{kind} operation: {member} is no JSON pointer")


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation["op"], operation["path"]
    match kind:
        case "add":
            return _add(document, path, copied(operation["value"]), kind)
        case "remove":
            return _remove(document, path, kind)
        case "replace":
            _get(document, path, kind)
            if not path:
                return copied(operation["value"])
            return _replace(document, path, copied(operation["value"]))
        case "test":
            _test(document, path, operation.get("value"))
            return document
        case "copy":
            return _add(document, path, copied(_get(document, operation["from"], kind)), kind)
    source = operation["from"]
    if path.startswith(source + "/"):
        raise _DoesNotApplyError(f"move operation does not apply: {source} cannot move into itself")
    value = _get(document, source, kind)
    return _add(_remove(document, source, kind), path, value, kind)


def _test(document: Any, path: str, expected: Any) -> None:
    try:
        found = _get(document, path, "test")
    except _DoesNotApplyError:
        if expected is None:
            return
        raise
    if not same(found, expected):
        raise _DoesNotApplyError(f"testing value {path} failed: test failed")


def _tokens(path: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _get(document: Any, path: str, kind: str) -> Any:
    for token in _tokens(path):
        document = _step(document, token, path, kind)
    return document


def _step(container: Any, token: str, path: str, kind: str) -> Any:
    if isinstance(container, dict):
        if token in container:
            return container[token]
    elif isinstance(container, list):
        return container[_index(container, token, path, kind, len(container) - 1)]
    raise _DoesNotApplyError(f"{kind} operation does not apply: doc is missing key: {path}: missing value")


def _parent(document: Any, path: str, kind: str) -> tuple[Any, str]:
    *above, last = _tokens(path)
    for token in above:
        document = _step(document, token, path, kind)
    if not isinstance(document, (dict, list)):
        raise _DoesNotApplyError(
            f"{kind} operation does not apply: doc is missing path: {path}: missing value"
        )
    return document, last


def _index(container: list[Any], token: str, path: str, kind: str, limit: int) -> int:
    """Negative indices count from the end, as upstream's library allows."""
    if not _is_index(token):
        raise _DoesNotApplyError(f"{kind} operation does not apply: {path}: {token!r} is no array index")
    index = int(token)
    if index < 0:
        index += limit + 1
    if not 0 <= index <= limit:
        raise _DoesNotApplyError(
            f"{kind} operation does not apply: {path}: Unable to access invalid index: {token}: invalid index"
        )
    return index


def _add(document: Any, path: str, value: Any, kind: str) -> Any:
    if not path:
        return value
    container, last = _parent(document, path, kind)
    if isinstance(container, dict):
        container[last] = value
    elif last == "-":
        container.append(value)
    else:
        container.insert(_index(container, last, path, kind, len(container)), value)
    return document


def _replace(document: Any, path: str, value: Any) -> Any:
    container, last = _parent(document, path, "replace")
    key = (
        last if isinstance(container, dict) else _index(container, last, path, "replace", len(container) - 1)
    )
    container[key] = value
    return document


def _remove(document: Any, path: str, kind: str) -> Any:
    if not path:
        raise _DoesNotApplyError(f"{kind} operation does not apply: the whole document cannot be removed")
    _get(document, path, kind)
    container, last = _parent(document, path, kind)
    key = last if isinstance(container, dict) else _index(container, last, path, kind, len(container) - 1)
    del container[key]
    return document
