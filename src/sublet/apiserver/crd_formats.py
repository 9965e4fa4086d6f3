"""The formats of strings that custom resources are checked for; unknown ones say nothing, as upstream."""

from __future__ import annotations

import binascii
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sublet.machinery import gourl, names, objects, quantity
from sublet.machinery.status import quoted

Check = Callable[[str], bool]


def known(stated: str) -> tuple[str, Check] | None:
    """The check for a format, which may be written with dashes or without; None: nothing is checked."""
    check = _CHECKS.get(stated.replace("-", ""))
    return None if check is None else (stated, check)


def warnings(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[str]:
    """What is said of a definition whose schemas state formats that mean nothing; those of before are not told of."""
    before = set() if old is None else set(_unrecognized(old))
    told = dict.fromkeys(each for each in _unrecognized(new) if each not in before)
    return [f"unrecognized format {quoted(each)}" for each in told]


def _unrecognized(definition: Mapping[str, Any]) -> Iterator[str]:
    for version in (definition.get("spec") or {}).get("versions") or ():
        root = (version.get("schema") or {}).get("openAPIV3Schema")
        waiting: list[Any] = [root] if isinstance(root, dict) else []
        while waiting:
            node = waiting.pop()
            stated = str(node.get("format") or "")
            if stated and not _recognized(str(node.get("type") or ""), stated):
                yield stated
            waiting += reversed(list(_parts(node)))


def _parts(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("items", "not", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield node[key]
    for key in ("allOf", "anyOf", "oneOf"):
        yield from node.get(key) or ()
    yield from (node.get("properties") or {}).values()


def _recognized(kind: str, stated: str) -> bool:
    if kind in ("", "string"):
        return stated == "password" or known(stated) is not None
    return stated in _NUMBERS.get(kind, ())


_NUMBERS: Mapping[str, tuple[str, ...]] = {"integer": ("int32", "int64"), "number": ("float", "double")}


def _accepted_by(parse: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _address(version: int) -> Check:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def _cidr(text: str) -> bool:
    return "/" in text and _accepted_by(lambda each: ipaddress.ip_network(each, strict=False))(text)


def _base64(text: str) -> bool:
    return len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) is not None


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if re.fullmatch(r"\d{9}[\dX]", digits) is None:
        return False
    return sum((10 if c == "X" else int(c)) * (10 - i) for i, c in enumerate(digits)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    return (
        re.fullmatch(r"\d{13}", digits) is not None
        and sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(digits)) % 10 == 0
    )


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if _CARD.fullmatch(digits) is None:
        return False
    doubled = [int(c) * (2 if i % 2 else 1) for i, c in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _matching(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_CARD = re.compile(
    r"4\d{12}(\d{3})?|5[1-5]\d{14}|(222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|6(011|5\d\d)\d{12}"
    r"|3[47]\d{13}|3(0[0-5]|[68]\d)\d{11}|(2131|1800|35\d{3})\d{11}|6[27]\d{14}"
)
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_BYTE = r"(?:[01]?\d{1,2}|2[0-4]\d|25[0-5])"
_UNIT = r"(ns|us|µs|μs|ms|s|m|h|d|w|nanos?|nanoseconds?|micros?|microseconds?|millis?|milliseconds?|secs?|seconds?|mins?|minutes?|hrs?|hours?|hs?|days?|wks?|weeks?)"


def _uuid(version: str = "[0-9a-fA-F]", variant: str = "[0-9a-fA-F]") -> Check:
    digit = "[0-9a-fA-F]"
    return _matching(
        f"{digit}{{8}}-?{digit}{{4}}-?{version}{digit}{{3}}-?{variant}{digit}{{3}}-?{digit}{{12}}"
    )


_CHECKS: Mapping[str, Check] = {
    "datetime": _accepted_by(objects.parse_time),
    "date": lambda text: _accepted_by(objects.parse_time)(f"{text}T00:00:00Z"),
    "duration": _matching(rf"[-+]?(\d+(\.\d*)?|\.\d+)\s*{_UNIT}((\d+(\.\d*)?|\.\d+)\s*{_UNIT})*|[-+]?0"),
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "mac": _matching(r"([0-9a-fA-F]{2}[:-]){5,7}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2,3}[0-9a-fA-F]{4}"),
    "byte": _base64,
    "uri": _accepted_by(gourl.parse_request),
    "email": _matching(r"[^@\s]+@[^@\s]+|[^<>]*<[^@\s<>]+@[^@\s<>]+>"),
    "hostname": lambda text: len(text) <= 255 and _matching(rf"{_LABEL}(\.{_LABEL})*")(text),
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "[89abAB]"),
    "uuid5": _uuid("5", "[89abAB]"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matching(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matching(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matching(rf"rgb\(\s*{_BYTE}\s*,\s*{_BYTE}\s*,\s*{_BYTE}\s*\)"),
    "bsonobjectid": _matching(r"[0-9a-fA-F]{24}"),
    "quantity": _accepted_by(quantity.parse),
    "k8sshortname": lambda text: not names.dns1123_label(text),
    "k8slongname": lambda text: not names.dns1123_subdomain(text),
}
"""By the name without dashes. ``password`` is any string."""
