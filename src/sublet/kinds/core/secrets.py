"""Secret."""

from __future__ import annotations

import base64
import json
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import (
    Errors,
    decoded_length,
    fill_empty,
    immutable,
    named,
    rule,
    update_rule,
)
from sublet.machinery import names, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, required, too_long

MAX_BYTES = 1024 * 1024
_ACCOUNT = "kubernetes.io/service-account.name"
_NEEDED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON_KEYS = (".dockercfg", ".dockerconfigjson")


def _default(secret: Object) -> None:
    fill_empty(secret, type="Opaque")
    text = secret.pop("stringData", None)
    if text:
        data = secret.setdefault("data", {})
        for key, value in text.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def _validate(secret: Object) -> Errors:
    data = secret.get("data") or {}
    size = 0
    for key, value in data.items():
        yield from named(f"data[{key}]", key, names.config_key)
        size += decoded_length(value)
    if size > MAX_BYTES:
        yield too_long("data", MAX_BYTES)
    kind = str(secret.get("type") or "")
    if kind == "kubernetes.io/service-account-token" and not objects.annotations(secret).get(_ACCOUNT):
        yield required(f"metadata.annotations[{_ACCOUNT}]")
    if kind == "kubernetes.io/basic-auth" and not ({"username", "password"} & data.keys()):
        yield required("data[username]")
        yield required("data[password]")
    if kind == "kubernetes.io/ssh-auth" and not data.get("ssh-privatekey"):
        yield required("data[ssh-privatekey]")
    for key in _NEEDED_KEYS.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif key in _JSON_KEYS:
            yield from _json(f"data[{key}]", data[key])


def _json(path: str, encoded: str) -> Errors:
    try:
        found = json.loads(base64.b64decode(encoded))
    except ValueError as error:
        yield invalid(path, "<secret contents redacted>", _go_text(base64.b64decode(encoded), error))
        return
    if found is not None and not isinstance(found, dict):
        kind = {str: "string", bool: "bool", list: "array"}.get(type(found), "number")
        detail = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        yield invalid(path, "<secret contents redacted>", detail)


def _go_text(text: bytes, error: ValueError) -> str:
    """What Go's JSON decoder says of a document that is none."""
    at = error.pos if isinstance(error, json.JSONDecodeError) else 0
    if at >= len(text.rstrip()):
        return "unexpected end of JSON input"
    where = "looking for beginning of value" if at == 0 else "after top-level value"
    return f"invalid character '{chr(text[at])}' {where}"


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("type", new.get("type"), old.get("type"))
    if old.get("immutable"):
        refused = "field is immutable when `immutable` is set"
        if not new.get("immutable"):
            yield field_forbidden("immutable", refused)
        if (new.get("data") or {}) != (old.get("data") or {}):
            yield field_forbidden("data", refused)
    yield from _validate(new)


def _cells(secret: Object, now: float) -> list[Any]:
    return [
        show.name(secret),
        secret.get("type", ""),
        len(secret.get("data") or {}),
        show.age(secret, now),
    ]


KIND = builtin(
    "secrets",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=_cells,
    selectable={"type": lambda secret: str(secret.get("type") or "")},
)
