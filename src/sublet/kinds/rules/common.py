"""Small rules that many kinds are made of. Each takes the field's path first and yields what is wrong with it.

Texts: reference/kubernetes-api.md E.1, E.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
)

Errors = Iterator[FieldError]

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
MAX_ANNOTATION_BYTES = 256 * 1024
MAX_INT32 = (1 << 31) - 1

_PERCENT = re.compile(r"\d+%").fullmatch


def named(path: str, value: str, rule: Callable[[str], Sequence[str]]) -> Errors:
    """What a name rule of :mod:`sublet.machinery.names` says of a value."""
    for text in rule(value):
        yield invalid(path, value, text)


def legacy_ip(path: str, value: str, kept: Sequence[str] = ()) -> Errors:
    """An address in a field that once took more than now; ``kept``: what is there already may stay."""
    if value not in kept:
        yield from named(path, value, names.ip_address)


def legacy_cidr(path: str, value: str, kept: Sequence[str] = ()) -> Errors:
    """As :func:`legacy_ip`, a range of addresses."""
    if value not in kept:
        yield from named(path, value, names.cidr)


def needs(path: str, value: Any, rule: Callable[[str], Sequence[str]] | None = None) -> Errors:
    """A string that must be there, and be a good name where a rule is given."""
    if not value:
        yield required(path)
    elif rule is not None:
        yield from named(path, value, rule)


def one_of(path: str, value: Any, supported: Sequence[str], *, needed: bool = False) -> Errors:
    """An enumerated string; absent is fine unless ``needed``, when it must not be empty either."""
    if value is None or (needed and not value):
        if needed:
            yield required(path)
    elif value not in supported:
        yield not_supported(path, value, supported)


def not_negative(path: str, value: int | None) -> Errors:
    if value is not None and value < 0:
        yield invalid(path, value, NOT_NEGATIVE)


def within(path: str, value: int | None, low: int, high: int) -> Errors:
    if value is not None and not low <= value <= high:
        yield invalid(path, value, f"must be between {low} and {high}, inclusive")


def port(path: str, value: int | None) -> Errors:
    """A port number that must be there."""
    if value is None:
        yield required(path)
    else:
        yield from within(path, value, 1, 65535)


def port_number_or_name(path: str, value: Any) -> Errors:
    """A target port: a number, or the name of a container's port."""
    if value is None or isinstance(value, int):
        yield from within(path, value or 0, 1, 65535)
    else:
        yield from named(path, str(value), names.port_name)


def descending(path: str, value: str) -> Errors:
    """A path that stays below where it starts."""
    if value.startswith("/"):
        yield invalid(path, value, "must be a relative path")
    yield from no_backsteps(path, value)


def no_backsteps(path: str, value: str) -> Errors:
    if ".." in value.split("/"):
        yield invalid(path, value, "must not contain '..'")


def not_reserved(path: str, value: str) -> Errors:
    """A path that stays below where it starts and does not begin as the kubelet's own files do."""
    yield from descending(path, value)
    if value.startswith("..") and not value.startswith("../"):
        yield invalid(path, value, "must not start with '..'")


def immutable(path: str, new: Any, old: Any) -> Errors:
    if new != old:
        yield invalid(path, new, IMMUTABLE)


def selector_value(selector: Object | None) -> Object | None:
    """A LabelSelector as messages show it: in the order of Go's struct, maps by key."""
    if selector is None:
        return None
    made: Object = {}
    if found := selector.get("matchLabels"):
        made["matchLabels"] = dict(sorted(found.items()))
    if requirements := selector.get("matchExpressions"):
        made["matchExpressions"] = [
            {"key": r.get("key") or "", "operator": r.get("operator") or ""}
            | ({"values": r["values"]} if r.get("values") else {})
            for r in requirements
        ]
    return made


def unique(path: str, items: Sequence[Object], key: str) -> Errors:
    """Items of a list must differ in one field; empty ones are another rule's matter."""
    seen: set[Any] = set()
    for index, item in enumerate(items):
        value = item.get(key)
        if value and value in seen:
            yield duplicate(f"{path}[{index}].{key}", value)
        seen.add(value)


def labels(path: str, found: Mapping[str, str] | None) -> Errors:
    """Keys and values of a label map."""
    for key, value in (found or {}).items():
        for text in names.qualified_name(key):
            yield invalid(path, key, text)
        for text in names.label_value(value):
            yield invalid(path, value, text)


def label_value(path: str, value: str) -> Errors:
    """All that is wrong with a label's value in one error."""
    if wrong := names.label_value(value):
        yield invalid(path, value, ";".join(wrong))


def annotation_map(path: str, found: Mapping[str, str] | None) -> Errors:
    """Keys and total size of an annotation map."""
    size = 0
    for key, value in (found or {}).items():
        for text in names.qualified_name(key.lower()):
            yield invalid(path, key, text)
        size += len(key.encode()) + len(value.encode())
    if size > MAX_ANNOTATION_BYTES:
        yield too_long(path, MAX_ANNOTATION_BYTES)


def label_selector(path: str, selector: Object | None, *, values: bool = True) -> Errors:
    """A LabelSelector: labels and requirements; ``values`` False: those that requirements list are not judged."""
    if not selector:
        return
    yield from labels(f"{path}.matchLabels", selector.get("matchLabels"))
    for index, requirement in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        operator, listed = requirement.get("operator"), requirement.get("values") or ()
        if operator in ("In", "NotIn"):
            if not listed:
                yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if listed:
                yield FieldError(
                    "FieldValueForbidden",
                    f"{where}.values",
                    "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                )
        else:
            yield invalid(f"{where}.operator", operator or "", "not a valid selector operator")
        yield from named(f"{where}.key", requirement.get("key") or "", names.qualified_name)
        for number, value in enumerate(listed if values else ()):
            yield from named(f"{where}.values[{number}]", value, names.label_value)


def decoded_length(encoded: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(encoded) // 4 * 3 - encoded.count("=", -2)


def is_percent(value: Any) -> bool:
    return isinstance(value, str) and _PERCENT(value) is not None


def int_or_percent(path: str, value: Any) -> Errors:
    """A count that is not negative, or a percentage."""
    if isinstance(value, str):
        yield from named(path, value, names.percent)
    elif value is not None:
        yield from not_negative(path, value)


def at_most_hundred_percent(path: str, value: Any) -> Errors:
    if is_percent(value) and int(value[:-1]) > 100:
        yield invalid(path, value, "must not be greater than 100%")


def is_zero(value: Any) -> bool:
    """Whether a count or percentage amounts to nothing."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return not digits.isdigit() or int(digits) == 0
    return not value


def rule(check: Callable[[Object], Errors]) -> Callable[[Object], Sequence[FieldError]]:
    """A generator of errors as a :attr:`Kind.validate`."""
    return lambda obj: list(check(obj))


def update_rule(
    check: Callable[[Object, Object], Errors],
) -> Callable[[Object, Object], Sequence[FieldError]]:
    """A generator of errors as a :attr:`Kind.validate_update`."""
    return lambda new, old: list(check(new, old))


def name_rule(check: Callable[[str], Sequence[str]]) -> Callable[[str, bool], Sequence[str]]:
    """A name rule as a :attr:`Kind.validate_name`; a prefix may end in a dash."""
    return lambda name, prefix: check(names.mask_trailing_dash(name) if prefix else name)


def spec_of(obj: Object) -> Object:
    """The spec, empty where absent; never written to."""
    return obj.get("spec") or {}


def made(obj: Object, *path: str) -> Object:
    """The map at a path, made where absent."""
    for key in path:
        if obj.get(key) is None:
            obj[key] = {}
        obj = obj[key]
    return obj


def fill(obj: Object, **values: Any) -> None:
    """Sets fields that are absent (or null)."""
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def fill_empty(obj: Object, **values: Any) -> None:
    """Sets fields that are absent, empty or zero."""
    for key, value in values.items():
        if not obj.get(key):
            obj[key] = value


def mirror(obj: Object, one: str, several: str, key: str = "") -> None:
    """Makes an old field of one value and the new one of several say the same: where they differ, the old one counts.

    ``key``: the values of the new field are maps, which hold under it what the old one does.
    """
    first, listed = obj.get(one), obj.get(several) or ()
    leading = (listed[0].get(key) if key else listed[0]) if listed else None
    if first and first != leading:
        obj[several] = [{key: first} if key else first]
    elif leading:
        obj[one] = leading
