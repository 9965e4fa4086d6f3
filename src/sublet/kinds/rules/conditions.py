"""Rules of ``conditions`` in the shape that most kinds share."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sublet.kinds.rules.common import Errors, fill, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, not_supported, required, too_long

_STATUSES = ("False", "True", "Unknown")
_MAX_REASON, _MAX_MESSAGE = 1024, 32768
_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_is_reason = re.compile(_REASON).fullmatch
_REASON_TEXT = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_'"
)
_EXAMPLES = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")


def untold_times(obj: Object, *fields: str) -> None:
    """Times of conditions are written though nobody told them: a time that is no pointer in Go is null then."""
    status = obj.get("status")
    for condition in (status.get("conditions") if isinstance(status, dict) else None) or ():
        fill(condition, **dict.fromkeys(fields))


def conditions(path: str, found: Sequence[Object]) -> Errors:
    """Each type once; every field well-formed."""
    seen: set[str] = set()
    for index, condition in enumerate(found):
        where, kind = f"{path}[{index}]", condition.get("type") or ""
        if kind in seen:
            yield duplicate(f"{where}.type", kind)
        seen.add(kind)
        yield from named(f"{where}.type", kind, names.qualified_name)
        yield from _fields(where, condition)


def _fields(path: str, condition: Object) -> Errors:
    status, reason = condition.get("status") or "", condition.get("reason") or ""
    if status not in _STATUSES:
        yield not_supported(f"{path}.status", status, _STATUSES)
    if (generation := condition.get("observedGeneration") or 0) < 0:
        yield invalid(f"{path}.observedGeneration", generation, "must be greater than or equal to zero")
    if not condition.get("lastTransitionTime"):
        yield required(f"{path}.lastTransitionTime", "must be set")
    if not reason:
        yield required(f"{path}.reason", "must be set")
    elif not _is_reason(reason):
        yield invalid(f"{path}.reason", reason, names.regex_message(_REASON_TEXT, _REASON, *_EXAMPLES))
    if len(reason) > _MAX_REASON:
        yield too_long(f"{path}.reason", _MAX_REASON)
    if len(condition.get("message") or "") > _MAX_MESSAGE:
        yield too_long(f"{path}.message", _MAX_MESSAGE)
