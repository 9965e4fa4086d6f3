"""The options of requests, from query and body, checked as Kubernetes checks them (reference B.8 to B.11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct, field

from sublet.apiserver import negotiation
from sublet.apiserver.deletion import DeleteOptions
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request
from sublet.machinery import codec, gotext, strict
from sublet.machinery.kind import Object
from sublet.machinery.managedfields import MAX_MANAGER, manager_errors
from sublet.machinery.status import (
    BadRequest,
    FieldError,
    field_forbidden,
    invalid,
    invalid_object,
    not_supported,
    required,
)

Validation = Literal["Ignore", "Warn", "Strict"]
_VALIDATIONS: Sequence[Validation] = ("Ignore", "Warn", "Strict")
_PROPAGATIONS = ("Orphan", "Background", "Foreground")
META = "meta.k8s.io"
_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"
_FIELDS: Mapping[str, tuple[type, str]] = {
    "gracePeriodSeconds": (int, "int64"),
    "orphanDependents": (bool, "bool"),
    "ignoreStoreReadErrorWithClusterBreakingPotential": (bool, "bool"),
    "propagationPolicy": (str, "v1.DeletionPropagation"),
    "preconditions": (dict, "v1.Preconditions"),
    "dryRun": (list, "[]string"),
}
"""The members of a DeleteOptions: what they are, and what Go calls that."""
NO_VERSION = "couldn't get version/kind; json parse error: "
_TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
_LONGEST_NUMBER = 20
"""Digits of the largest 64-bit number."""


class WriteOptions(Struct, frozen=True):
    """CreateOptions, UpdateOptions or PatchOptions of one request."""

    dry_run: bool = False
    manager: str = ""
    validation: Validation = "Warn"
    force: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)
    """As an options object, for admission."""


def write_options(request: Request, info: RequestInfo, kind: str, *, apply: bool = False) -> WriteOptions:
    """The options of a write; ``kind`` is CreateOptions, UpdateOptions or PatchOptions. Raises ``Invalid``."""
    if not info.params:
        if apply:
            _check_apply("", None, True, [])
        return WriteOptions(manager=_agent(request), body={"kind": kind, "apiVersion": "meta.k8s.io/v1"})
    errors: list[FieldError] = []
    manager = info.param("fieldManager")
    force = info.flag("force") if "force" in info.params else None
    if kind == "PatchOptions":
        _check_apply(manager, force, apply, errors)
    errors += manager_errors(manager, "fieldManager")
    dry_run = _dry_run(info.params.get("dryRun") or (), errors)
    validation = info.param("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        errors.append(not_supported("fieldValidation", validation, ("", *sorted(_VALIDATIONS))))
    _refuse(kind, errors)
    body: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if dry_run:
        body["dryRun"] = ["All"]
    if force is not None:
        body["force"] = force
    if manager:
        body["fieldManager"] = manager
    if "fieldValidation" in info.params:
        body["fieldValidation"] = validation
    checked: Validation = "Warn" if validation == "Warn" else "Strict" if validation == "Strict" else "Ignore"
    return WriteOptions(dry_run, manager or _agent(request), checked, bool(force), body)


def _check_apply(manager: str, force: bool | None, apply: bool, errors: list[FieldError]) -> None:
    if apply and not manager:
        errors.append(required("fieldManager", "is required for apply patch"))
        _refuse("PatchOptions", errors)
    if not apply and force is not None:
        errors.append(field_forbidden("force", "may not be specified for non-apply patch"))


def _refuse(kind: str, errors: Sequence[FieldError]) -> None:
    if errors:
        raise invalid_object(META, kind, "", errors)


def _dry_run(values: Sequence[str], errors: list[FieldError]) -> bool:
    wanted = [value for value in values if value]
    if any(value != "All" for value in wanted):
        errors.append(not_supported("dryRun", wanted, ("All",)))
    return bool(wanted)


def _agent(request: Request) -> str:
    """The field manager that a client which names none is taken for."""
    name = request.headers.get("user-agent", "").partition("/")[0]
    if not name.isprintable() or len(name) > MAX_MANAGER or not name.isascii():
        printable = "".join(char for char in name if char.isprintable())
        name = printable.encode()[:MAX_MANAGER].decode(errors="ignore")
    return name or "unknown"


def delete_options(request: Request, info: RequestInfo) -> DeleteOptions:
    """DeleteOptions from the body or, where there is none, from the query.

    Raises ``BadRequest`` for a body that is none: upstream's words, but not the code of 500 it has for them.
    """
    if not request.body:
        return parse_delete_options(_from_query(info) if info.params else {})
    document = _document(request)
    _check_kind(document)
    return parse_delete_options(document)


def _document(request: Request) -> Object:
    fmt, body = negotiation.content_format(request), request.body
    if fmt == "yaml":
        decoded = negotiation.decode_yaml(body)
    elif fmt == "protobuf":
        decoded = decode_protobuf(body)
    else:
        try:
            decoded = codec.decode_json(body)
        except codec.DecodeError as error:
            raise BadRequest(NO_VERSION + (gotext.json_error(body) or str(error))) from None
    if decoded is None:
        return {}
    if why := no_type(decoded):
        raise BadRequest(why)
    return cast(Object, decoded)


def no_type(document: Any) -> str:
    """Why what a document is cannot be read from it; ``""`` when it can, also when it does not say."""
    if not isinstance(document, dict):
        found = strict.json_kind(document)
        return f"{NO_VERSION}json: cannot unmarshal {found} into Go value of type {_TYPE_META}"
    version, kind = document.get("apiVersion"), document.get("kind")
    if (version is None or isinstance(version, str)) and (kind is None or isinstance(kind, str)):
        return ""
    for name, value in document.items():
        if name in ("apiVersion", "kind") and value is not None and not isinstance(value, str):
            found = strict.json_kind(value)
            return f"{NO_VERSION}json: cannot unmarshal {found} into Go struct field .{name} of type string"
    return ""


def _check_kind(document: Object) -> None:
    kind = document.get("kind") or "DeleteOptions"
    if kind in ("CreateOptions", "UpdateOptions"):  # may be of any version too, but are no DeleteOptions
        raise BadRequest(f"converting (v1.{kind}) to (v1.DeleteOptions): unknown conversion")
    if kind != "DeleteOptions":
        version = document.get("apiVersion") or META + "/v1"
        raise BadRequest(f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"')


def decode_protobuf(body: bytes, *, every_zero: bool = False) -> Object:
    """``every_zero``: the caller knows by a schema which of them count. Raises ``BadRequest``."""
    from sublet.kinds import protobuf

    reader = protobuf.wire_codec() if every_zero else protobuf.codec()
    try:
        return reader.decode_object(body)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def parse_delete_options(document: Mapping[str, Any]) -> DeleteOptions:
    """Checks a DeleteOptions object. Raises ``Invalid``."""
    errors: list[FieldError] = []
    _check_types(document)
    grace = document.get("gracePeriodSeconds")
    propagation = document.get("propagationPolicy") or ""
    preconditions = document.get("preconditions") or {}
    orphan = document.get("orphanDependents")
    if propagation and orphan is not None:
        errors.append(
            invalid(
                "propagationPolicy",
                propagation,
                "orphanDependents and deletionPropagation cannot be both set",
            )
        )
    if propagation and propagation not in _PROPAGATIONS:
        errors.append(
            not_supported("propagationPolicy", propagation, ("Foreground", "Background", "Orphan", "nil"))
        )
    if orphan is not None and not propagation:
        propagation = "Orphan" if orphan else "Background"
    dry_run = _dry_run(document.get("dryRun") or (), errors)
    _refuse("DeleteOptions", errors)
    return DeleteOptions(
        grace,
        propagation,
        str(preconditions.get("uid") or ""),
        str(preconditions.get("resourceVersion") or ""),
        dry_run,
        None if orphan is None else bool(orphan),
    )


def _check_types(document: Mapping[str, Any]) -> None:
    """Raises ``BadRequest`` for the first member that Go could not read into its field."""
    for name, value in document.items():
        known = _FIELDS.get(name)
        if known is None or value is None:
            continue
        _check_field(value, f"DeleteOptions.{name}", *known)
        if name == "dryRun":
            for item in value:
                _check_field(item, "DeleteOptions.dryRun", str, "string")
        elif name == "preconditions":
            for key, go_type in (("uid", "types.UID"), ("resourceVersion", "string")):
                _check_field(value.get(key), f"Preconditions.preconditions.{key}", str, go_type)


def _check_field(value: Any, field: str, wanted: type, go_type: str) -> None:
    if value is None or (isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))):
        return
    found = strict.json_kind(value)
    if isinstance(value, float) and wanted is int:
        found += f" {value}"
    raise BadRequest(f"json: cannot unmarshal {found} into Go struct field {field} of type {go_type}")


def _from_query(info: RequestInfo) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if "gracePeriodSeconds" in info.params:
        document["gracePeriodSeconds"] = integer(info, "gracePeriodSeconds")
    if text := info.param("propagationPolicy"):
        document["propagationPolicy"] = text
    if "orphanDependents" in info.params:
        document["orphanDependents"] = info.flag("orphanDependents")
    if "dryRun" in info.params:
        document["dryRun"] = list(info.params["dryRun"])
    meant = {key: text for key in ("uid", "resourceVersion") if (text := info.param(key))}
    if meant:
        document["preconditions"] = meant
    return document


class ListOptions(Struct, frozen=True):
    """Of a list or watch; ``revision`` None is an absent resourceVersion."""

    revision: int | None = None
    match: str = ""
    limit: int = 0
    continue_token: str = ""
    timeout: int = 0
    bookmarks: bool = False
    initial_events: bool | None = None


def list_options(info: RequestInfo, *, watch: bool = False, watch_list: bool = True) -> ListOptions:
    """``watch_list``: whether feature WatchList is on. Raises ``Invalid`` or ``BadRequest`` (reference B.11)."""
    if not info.params:
        return _NO_LIST_OPTIONS
    text = info.param("resourceVersion")
    match = info.param("resourceVersionMatch")
    token = info.param("continue")
    limit, timeout = integer(info, "limit"), integer(info, "timeoutSeconds")
    initial = info.flag("sendInitialEvents") if "sendInitialEvents" in info.params else None
    legacy = initial is None and not match and text in ("", "0")
    if legacy and watch_list and info.flag("watch"):  # not of the old paths below ``watch/``
        # As upstream: what such a watch has always shown first are initial events by another name.
        initial, match = True, "NotOlderThan"
    errors = (
        _watch_errors(match, token, initial, watch_list)
        if watch
        else _list_errors(text, match, token, initial)
    )
    _refuse("ListOptions", errors)
    if watch:
        revision = _watched_revision(text, info) if text else None
    else:
        if token and text and text != "0":
            raise BadRequest("specifying resource version is not allowed when using continue")
        revision = read_revision(text)
    bookmarks = info.flag("allowWatchBookmarks")
    return ListOptions(revision, match, max(limit, 0), token, max(timeout, 0), bookmarks, initial)


def read_revision(text: str) -> int | None:
    """The ``resourceVersion`` of a get or list; None for an absent one. Raises ``BadRequest``."""
    if not text:
        return None
    if error := _revision_error(text):
        raise BadRequest(f"invalid resource version: {error}")
    return int(text)


def _watched_revision(text: str, info: RequestInfo) -> int:
    """Upstream answers a watch from a resource version that is no number with 422 and the resource as kind."""
    if error := _revision_error(text):
        raise invalid_object(info.api_group, info.resource, "", [error])
    return int(text)


def _revision_error(text: str) -> FieldError | None:
    try:
        number = _parsed("ParseUint", text)
    except BadRequest as error:
        return invalid("resourceVersion", text, error.message)
    return invalid("resourceVersion", text, _out_of_range("ParseUint", text)) if number >= 1 << 64 else None


def integer(info: RequestInfo, key: str) -> int:
    """A whole number of the query, 0 where there is none. Raises ``BadRequest`` in Go's words."""
    if key not in info.params:
        return 0
    text = info.param(key)
    digits = text[1:] if text[:1] in ("+", "-") else text
    number = _parsed("ParseInt", text, digits)
    if not -(1 << 63) <= number < 1 << 63:
        raise BadRequest(_out_of_range("ParseInt", text))
    return number


def _parsed(function: str, text: str, digits: str | None = None) -> int:
    digits = text if digits is None else digits
    if not digits.isascii() or not digits.isdigit():
        raise BadRequest(f"strconv.{function}: parsing {_quoted(text)}: invalid syntax")
    if len(digits.lstrip("0")) > _LONGEST_NUMBER:
        raise BadRequest(_out_of_range(function, text))
    return int(text)


def _out_of_range(function: str, text: str) -> str:
    return f"strconv.{function}: parsing {_quoted(text)}: value out of range"


def _quoted(text: str) -> str:
    return codec.encode_json(text).decode()


_MATCHES = ("Exact", "NotOlderThan", "")


def _list_errors(text: str, match: str, token: str, initial: bool | None) -> list[FieldError]:
    field_ = "resourceVersionMatch"
    errors: list[FieldError] = []
    if match and not text:
        errors.append(
            field_forbidden(field_, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        )
    if match and token:
        errors.append(field_forbidden(field_, "resourceVersionMatch is forbidden when continue is provided"))
    if match not in _MATCHES:
        errors.append(not_supported(field_, match, _MATCHES))
    if match == "Exact" and text == "0":
        errors.append(
            field_forbidden(field_, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
        )
    if initial is not None:
        errors.append(field_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_errors(match: str, token: str, initial: bool | None, watch_list: bool) -> list[FieldError]:
    field_ = "resourceVersionMatch"
    errors: list[FieldError] = []
    if initial is not None and match != "NotOlderThan":
        errors.append(
            field_forbidden(field_, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        )
    if match and initial is None:
        errors.append(
            field_forbidden(
                field_, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        )
    if initial is not None and not watch_list:
        text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        errors.append(field_forbidden("sendInitialEvents", text))
    if match and match != "NotOlderThan":
        errors.append(not_supported(field_, match, ("NotOlderThan",)))
    if match and token:
        errors.append(field_forbidden(field_, "resourceVersionMatch is forbidden when continue is provided"))
    return errors


_NO_LIST_OPTIONS = ListOptions()
