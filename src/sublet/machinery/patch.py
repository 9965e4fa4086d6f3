"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386), with the errors the API server answers.

A malformed patch is a :class:`BadRequest`, one that does not fit the object an :class:`Invalid`. Where upstream's
library (evanphx/json-patch v4) takes more than the RFC, so does this: ``replace`` and ``copy`` of a member that is
not there, negative indices. Texts are the library's.
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
_is_index = re.compile(r"[+-]?[0-9]+").fullmatch
"""As Go reads a number: with a plus or leading zeros, too."""

_LONGEST_INDEX = 19
"""Characters; what is longer is no number of 64 bits, or nobody's index."""


class DoesNotApply(Exception):
    """An operation does not fit the document; ``str()`` says which and why."""


class Differs(DoesNotApply):
    """A ``test`` operation found another value."""


def json_patch(obj: Any, operations: Any) -> Any:
    """The object after all operations (RFC 6902), which apply in order and all or none."""
    try:
        return operated(obj, operations)
    except DoesNotApply as error:
        # Upstream tells no more, and clients compare the whole text; the reason stays in the exception's chain.
        raise Invalid(
            "the server rejected our request due to an error in our request", with_details=True
        ) from error


def operated(obj: Any, operations: Any) -> Any:
    """:func:`json_patch` for who may be told what is wrong. Raises :class:`DoesNotApply`."""
    _check(operations)
    result = copied(obj)
    grown = 0
    for operation in operations:
        _check_members(operation)
        if operation["op"] == "copy":
            grown += len(encode_json(_source(result, operation["from"], "copy")))
            if grown > COPIES_LIMIT:
                raise DoesNotApply(
                    f"Unable to complete the copy, the accumulated size increase of copy is {grown}, exceeding the "
                    f"limit {COPIES_LIMIT}"
                )
        result = _apply(result, operation)
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
        raise DoesNotApply(f"Unexpected kind: {kind}")
    for member in ("path", *_MEMBERS[kind]):
        if member not in operation:
            raise DoesNotApply(f"{kind} operation lacks {member}: missing value")
    for member in ("path", "from"):
        pointer = operation.get(member, "")
        if pointer and pointer[0] != "/":
            raise DoesNotApply(
                f"{kind} operation does not apply: doc is missing path: {pointer}: missing value"
            )


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation["op"], operation["path"]
    match kind:
        case "add":
            return _add(document, path, copied(operation["value"]), kind)
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, copied(operation["value"]))
        case "test":
            _test(document, path, operation.get("value"))
            return document
        case "copy":
            return _add(document, path, copied(_source(document, operation["from"], kind)), kind)
    source = operation["from"]
    if path.startswith(source + "/"):
        raise DoesNotApply(f"move operation does not apply: {source} cannot move into itself")
    value = _source(document, source, kind)
    return _add(_remove(document, source), path, value, kind)


def _test(document: Any, path: str, expected: Any) -> None:
    found = document
    if path:
        container, last = _parent(document, path, "test operation does not apply: is missing path: {}")
        found = _member(container, last, f"error in test for path: '{path}'")
    if not same(found, expected):
        raise Differs(f"testing value {path} failed: test failed")


def _tokens(path: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _source(document: Any, path: str, kind: str) -> Any:
    """What a copy or a move takes; null where an object has no such member."""
    if not path:
        return document
    container, last = _parent(
        document, path, kind + " operation does not apply: doc is missing from path: {}"
    )
    return _member(container, last, f"error in {kind} for path: '{path}'")


def _parent(document: Any, path: str, missing: str) -> tuple[Any, str]:
    """What holds the member that a path ends with, and its name. ``missing``: what is said where nothing does."""
    *above, last = _tokens(path)
    for token in above:
        try:
            document = _member(document, token, "")
        except DoesNotApply:
            document = None
    if not isinstance(document, (dict, list)):
        raise DoesNotApply(f"{missing.format(path)}: missing value")
    return document, last


def _member(container: Any, token: str, why: str) -> Any:
    if isinstance(container, dict):
        return container.get(token)
    if isinstance(container, list):
        return container[_index(container, token, why, len(container) - 1)]
    return None


def _index(container: list[Any], token: str, why: str, limit: int) -> int:
    """Negative indices count from the end, as upstream's library allows."""
    is_index = _is_index(token) is not None
    if not is_index or len(token) > _LONGEST_INDEX:
        raise DoesNotApply(
            f"{why}: value was not a proper array index: '{token}': "
            f'strconv.Atoi: parsing "{token}": {"value out of range" if is_index else "invalid syntax"}'
        )
    index = int(token)
    if index < 0:
        index += limit + 1
    if not 0 <= index <= limit:
        raise DoesNotApply(f"{why}: Unable to access invalid index: {token}: invalid index referenced")
    return index


def _add(document: Any, path: str, value: Any, kind: str) -> Any:
    if not path:
        return value
    place = 'path: "{}"' if kind == "add" else "destination path: {}"
    container, last = _parent(document, path, f"{kind} operation does not apply: doc is missing {place}")
    if isinstance(container, dict):
        container[last] = value
    elif last == "-":
        container.append(value)
    else:
        container.insert(
            _index(container, last, f"error in {kind} for path: '{path}'", len(container)), value
        )
    return document


def _replace(document: Any, path: str, value: Any) -> Any:
    """A member that an object does not have is set."""
    if not path:
        return value
    container, last = _parent(document, path, "replace operation does not apply: doc is missing path: {}")
    if isinstance(container, dict):
        container[last] = value
        return document
    try:
        container[_index(container, last, "", len(container) - 1)] = value
    except DoesNotApply:
        why = f"replace operation does not apply: doc is missing key: {path}: missing value"
        raise DoesNotApply(why) from None
    return document


def _remove(document: Any, path: str) -> Any:
    if not path:
        raise DoesNotApply("remove operation does not apply: the whole document cannot be removed")
    container, last = _parent(document, path, "remove operation does not apply: doc is missing path: {}")
    why = f"error in remove for path: '{path}'"
    if isinstance(container, list):
        del container[_index(container, last, why, len(container) - 1)]
    elif last in container:
        del container[last]
    else:
        raise DoesNotApply(f"{why}: Unable to remove nonexistent key: {last}: missing value")
    return document
