"""The one error tree: every error knows its HTTP code, its reason and its Status body.

Source: Kubernetes API conventions, "Response Status Kind"; reference/kubernetes-api.md B.5 and E.1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

_UNSET: Any = object()
NIL: Any = object()
"""A bad value that is an empty list or map of Go's: shown as ``null`` without quotes."""
OMITTED: Any = object()
"""A bad value that is not shown."""


class Cause(Struct, frozen=True):
    """One entry of ``status.details.causes``."""

    reason: str
    message: str
    field: str = ""

    def to_object(self) -> dict[str, str]:
        cause = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in cause.items() if value}


class StatusError(Exception):
    """An answer other than success, as clients see it: a ``Status`` object with a code and a reason."""

    code: int = 500
    reason: str = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after: int = 0,
        code: int = 0,
        reason: str | None = None,
        continue_token: str = "",
        with_details: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.group = group
        self.kind = kind
        """The plural resource for most errors, the Kind for :class:`Invalid`."""
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after = retry_after
        self.continue_token = continue_token
        self.headers: tuple[tuple[str, str], ...] = ()
        """What else the response should say."""
        self.with_details = with_details
        """Whether details are shown even where there are none, as some of upstream's errors do."""
        if code:
            self.code = code
        if reason is not None:
            self.reason = reason

    def to_object(self) -> dict[str, Any]:
        """The Status object (v1) to send."""
        details: dict[str, Any] = {}
        for key in ("name", "group", "kind", "uid"):
            if value := getattr(self, key):
                details[key] = value
        if self.causes:
            details["causes"] = [cause.to_object() for cause in self.causes]
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if details or self.with_details:
            status["details"] = details
        status["code"] = self.code
        return status


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    code, reason = 409, "AlreadyExists"


class Conflict(StatusError):
    code, reason = 409, "Conflict"


class Gone(StatusError):
    code, reason = 410, "Gone"


class Expired(StatusError):
    """The asked-for resource version or continue token is compacted away."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    """The object breaks validation rules; ``kind`` is the Kind, ``causes`` one per field error."""

    code, reason = 422, "Invalid"


class TooManyRequests(StatusError):
    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    code, reason = 500, "InternalError"


class ServerTimeout(StatusError):
    code, reason = 500, "ServerTimeout"


class ServiceUnavailable(StatusError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[StatusError]] = {
    error.reason: error
    for error in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists,
        Conflict, Gone, Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests,
        InternalError, ServerTimeout, ServiceUnavailable, Timeout,
    )
}  # fmt: skip
_BY_CODE: dict[int, type[StatusError]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed,
    406: NotAcceptable, 409: Conflict, 410: Expired, 413: RequestEntityTooLarge, 415: UnsupportedMediaType,
    422: Invalid, 429: TooManyRequests, 500: InternalError, 503: ServiceUnavailable, 504: Timeout,
}  # fmt: skip


def from_object(status: dict[str, Any]) -> StatusError:
    """The error that a received Status object stands for (reason first, then code)."""
    code = int(status.get("code") or 500)
    reason = status.get("reason") or ""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or StatusError
    details = status.get("details") or {}
    error = kind.__new__(kind)
    StatusError.__init__(
        error,
        status.get("message") or f"the server answered {code}",
        name=details.get("name", ""),
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        uid=details.get("uid", ""),
        causes=[
            Cause(c.get("reason", ""), c.get("message", ""), c.get("field", ""))
            for c in details.get("causes") or ()
        ],
        retry_after=int(details.get("retryAfterSeconds") or 0),
        code=code,
        reason=reason or kind.reason,
        continue_token=(status.get("metadata") or {}).get("continue", ""),
    )
    return error


def not_found(group: str, plural: str, name: str) -> NotFound:
    """``pods "x" not found``."""
    return NotFound(f'{qualified(group, plural)} "{name}" not found', name=name, group=group, kind=plural)


def already_exists(group: str, plural: str, name: str) -> AlreadyExists:
    """``pods "x" already exists``."""
    return AlreadyExists(
        f'{qualified(group, plural)} "{name}" already exists', name=name, group=group, kind=plural
    )


def conflict(group: str, plural: str, name: str, why: str = "") -> Conflict:
    """``Operation cannot be fulfilled on pods "x": …`` (by default: modified since it was read)."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    return Conflict(
        f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}',
        name=name,
        group=group,
        kind=plural,
    )


def forbidden(
    group: str, plural: str, name: str, why: str, causes: Sequence[Cause] = (), retry_after: int = 0
) -> Forbidden:
    """``pods "x" is forbidden: why`` (without the name when it is empty)."""
    what = f'{qualified(group, plural)} "{name}"' if name else qualified(group, plural)
    return Forbidden(
        f"{what} is forbidden: {why}",
        name=name,
        group=group,
        kind=plural,
        causes=causes,
        retry_after=retry_after,
    )


def internal_error(why: str) -> InternalError:
    """What a server answers that failed itself."""
    return InternalError(f"Internal error occurred: {why}", causes=[Cause("", why)])


def qualified(group: str, plural: str) -> str:
    """``deployments.apps``; the bare plural in the core group."""
    return f"{plural}.{group}" if group else plural


class FieldError(Struct, frozen=True):
    """One broken rule of one field (reference E.1). Make them with the functions below.

    ``str()`` gives ``spec.replicas: Invalid value: -1: must be greater than or equal to 0``.
    """

    reason: str
    """``FieldValueInvalid``, ``FieldValueRequired``, … as in ``causes[].reason``."""
    field: str
    """Path such as ``spec.containers[0].name`` or ``metadata.labels``."""
    body: str
    """The message without the path, as in ``causes[].message``."""

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def _shown(value: Any) -> str:
    """A bad value as Kubernetes prints it: strings quoted, the rest as JSON the way Go writes it.

    What is not there at all is a quoted ``"null"``.
    """
    if value is None:
        return '"null"'
    if value is NIL:
        return "null"
    if isinstance(value, (str, int, float, bool)):
        return json.dumps(value, ensure_ascii=False)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&":
        if char in text:
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def quoted(text: str) -> str:
    """A text in double quotes, as ``%q`` gives it for what is printable."""
    return json.dumps(text, ensure_ascii=False)


def invalid(field: str, value: Any, detail: str) -> FieldError:
    parts = ("Invalid value", "" if value is OMITTED else _shown(value), detail)
    return FieldError("FieldValueInvalid", field, ": ".join(filter(None, parts)))


def required(field: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, "Required value" + (f": {detail}" if detail else ""))


def duplicate(field: str, value: Any) -> FieldError:
    shown = "" if value is OMITTED else f": {_shown(value)}"
    return FieldError("FieldValueDuplicate", field, f"Duplicate value{shown}")


def not_supported(field: str, value: Any, supported: Sequence[str]) -> FieldError:
    listed = ", ".join(f'"{s}"' for s in supported)
    detail = f": supported values: {listed}" if supported else ""
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {_shown(value)}{detail}")


def field_forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def field_not_found(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", field, f"Not found: {_shown(value)}")


def too_long(field: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    return FieldError("FieldValueTooMany", field, f"Too many: {count}: must have at most {limit} items")


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", field, f"Invalid value: {_shown(value)}: {detail}")


def aggregated(errors: Sequence[FieldError]) -> str:
    """Several errors as one text; ``""`` for none."""
    texts = dict.fromkeys(str(error) for error in errors)
    return ", ".join(texts) if len(texts) < 2 else f"[{', '.join(texts)}]"


def invalid_object(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """The 422 for an object with broken fields (reference E.1)."""
    return Invalid(
        f'{qualified(group, kind)} "{name}" is invalid: {aggregated(errors)}',
        name=name,
        group=group,
        kind=kind,
        causes=[Cause(e.reason, e.body, e.field) for e in errors],
    )
