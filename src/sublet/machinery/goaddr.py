"""IP addresses and prefixes as Go's programs read them, with what they say of those that are none.

Source: Go's net/netip package.
"""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

from sublet.machinery.status import quoted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class _Wrong(Struct, frozen=True):
    why: str
    at: str = ""


def parse_address(text: str) -> Address:
    """An address, perhaps with a zone. Raises ``ValueError`` with Go's text."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        wrong = _wrong(text)
    at = f" (at {quoted(wrong.at)})" if wrong.at else ""
    raise ValueError(f"ParseAddr({quoted(text)}): {wrong.why}{at}")


def parse_prefix(text: str) -> Interface:
    """An address with the length of its network's part. Raises ``ValueError`` with Go's text."""
    start = f"netip.ParsePrefix({quoted(text)}): "
    host, slash, bits = text.rpartition("/")
    if not slash:
        raise ValueError(f"{start}no '/'")
    try:
        address = parse_address(host)
    except ValueError as error:
        raise ValueError(f"{start}{error}") from None
    if "%" in host:
        raise ValueError(f"{start}IPv6 zones cannot be present in a prefix")
    if re.fullmatch(r"[0-9]|[1-9][0-9]{1,17}", bits) is None:
        raise ValueError(f"{start}bad bits after slash: {quoted(bits)}")
    if int(bits) > address.max_prefixlen:
        raise ValueError(f"{start}prefix length out of range")
    return ipaddress.ip_interface(f"{host}/{bits}")


def _wrong(text: str) -> _Wrong:
    """The first thing that Go stumbles over."""
    first = re.search(r"[.:%]", text)
    match first.group() if first else "":
        case ".":
            return _wrong_in_four(text)
        case ":":
            return _wrong_in_six(text)
        case "%":
            return _Wrong("missing IPv6 address")
    return _Wrong("unable to parse IP")


def _wrong_in_four(text: str) -> _Wrong:
    value, dots, digits = 0, 0, 0
    for index, char in enumerate(text):
        if char in "0123456789":
            if digits == 1 and value == 0:
                return _Wrong("IPv4 field has octet with leading zero")
            value, digits = value * 10 + int(char), digits + 1
            if value > 255:
                return _Wrong("IPv4 field has value >255")
        elif char == ".":
            if index in (0, len(text) - 1) or text[index - 1] == ".":
                return _Wrong("IPv4 field must have at least one digit", text[index:])
            if dots == 3:
                return _Wrong("IPv4 address too long")
            value, dots, digits = 0, dots + 1, 0
        else:
            return _Wrong("unexpected character", text[index:])
    return _Wrong("IPv4 address too short")


def _wrong_in_six(text: str) -> _Wrong:
    rest, percent, zone = text.partition("%")
    if percent and not zone:
        return _Wrong("zone must be a non-empty string")
    fields, elided = 0, rest.startswith("::")
    rest = rest[2:] if elided else rest
    while fields < 8 and rest:
        digits = re.match(r"[0-9a-fA-F]*", rest)
        length = digits.end() if digits else 0
        if length > 4:
            return _Wrong("each group must have 4 or less digits", rest)
        if not length:
            return _Wrong("each colon-separated field must have at least one digit", rest)
        after = rest[length:]
        if after.startswith("."):
            return _wrong_at_the_end(rest, fields, elided)
        fields += 1
        if not after:
            rest = ""
            break
        if not after.startswith(":"):
            return _Wrong("unexpected character, want colon", after)
        if after == ":":
            return _Wrong("colon must be followed by more characters", after)
        rest = after[1:]
        if rest.startswith(":"):
            if elided:
                return _Wrong("multiple :: in address", rest)
            elided, rest = True, rest[1:]
    if rest:
        return _Wrong("trailing garbage after address", rest)
    if fields < 8:
        return _Wrong("address string too short")
    return _Wrong("the :: must expand to at least one field of zeros")


def _wrong_at_the_end(four: str, fields: int, elided: bool) -> _Wrong:
    """Of an address that ends as one of version 4 does."""
    if not elided and fields != 6:
        return _Wrong("embedded IPv4 address must replace the final 2 fields of the address", four)
    if fields > 6:
        return _Wrong("too many hex fields to fit an embedded IPv4 at the end of the address", four)
    try:
        ipaddress.IPv4Address(four)
    except ValueError:
        return _wrong_in_four(four)
    return _Wrong("the :: must expand to at least one field of zeros")
