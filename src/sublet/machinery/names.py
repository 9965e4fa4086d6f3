"""What may be called what: name rules, each with Kubernetes' own messages, and generated names.

A check returns the list of messages for what is wrong; an empty list means the value is good.
Source: apimachinery's validation rules; reference/kubernetes-api.md E.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from ipaddress import IPv4Address, IPv6Address

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits that make no words and cannot be mistaken for one another."""
GENERATED_BASE_LIMIT = 58
"""Longest prefix of a generated name; with the suffix of 5 it is a DNS label."""

CEL_WORDS = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
))  # fmt: skip
"""Words of the expression language, which name nothing in it."""
LABEL_LIMIT = 63
SUBDOMAIN_LIMIT = 253

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_UNDERSCORED = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_HEADER = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_underscored = re.compile(_UNDERSCORED).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_label_value = re.compile(_LABEL_VALUE).fullmatch
_is_wildcard = re.compile(_WILDCARD).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_is_header = re.compile(_HEADER).fullmatch
_is_percent = re.compile(_PERCENT).fullmatch


def regex_message(message: str, pattern: str, *examples: str) -> str:
    """``MESSAGE (e.g. 'A',  or 'B', regex used for validation is 'PATTERN')``."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


_LABEL_MESSAGE = regex_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_UNDERSCORED_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character",
    _UNDERSCORED,
    "example.com",
)
_LABEL_1035_MESSAGE = regex_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_WILDCARD_MESSAGE = regex_message(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
    "which must consist of lower case alphanumeric characters, '-' or '.' "
    "and end with an alphanumeric character",
    _WILDCARD,
    "*.example.com",
)
_QUALIFIED_MESSAGE = regex_message(
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE_MESSAGE = regex_message(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _LABEL_VALUE,
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_KEY_MESSAGE = regex_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)
_C_IDENTIFIER_MESSAGE = regex_message(
    "a valid C identifier must start with alphabetic character or '_', "
    "followed by a string of alphanumeric characters or '_'",
    _C_IDENTIFIER,
    "my_name",
    "MY_NAME",
    "MyName",
)
_HEADER_MESSAGE = regex_message(
    "a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name"
)
_PERCENT_MESSAGE = regex_message(
    "a valid percent string must be a numeric string followed by an ending '%'", _PERCENT, "1%", "93%"
)
_ENVIRONMENT_MESSAGE = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)


def _too_long(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def dns1123_label(value: str) -> list[str]:
    messages = [_too_long(LABEL_LIMIT)] if len(value) > LABEL_LIMIT else []
    if not _is_label(value):
        # A value that would do as a subdomain is told what is wrong in short.
        messages.append("must not contain dots" if _is_subdomain(value) else _LABEL_MESSAGE)
    return messages


def dns1123_subdomain(value: str) -> list[str]:
    messages = [_too_long(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if not _is_subdomain(value):
        messages.append(_SUBDOMAIN_MESSAGE)
    return messages


def dns1123_subdomain_with_underscores(value: str) -> list[str]:
    """As search domains may have them."""
    messages = [_too_long(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if not _is_underscored(value):
        messages.append(_UNDERSCORED_MESSAGE)
    return messages


def dns1035_label(value: str) -> list[str]:
    messages = [_too_long(LABEL_LIMIT)] if len(value) > LABEL_LIMIT else []
    if not _is_label_1035(value):
        messages.append(_LABEL_1035_MESSAGE)
    return messages


def wildcard_subdomain(value: str) -> list[str]:
    messages = [_too_long(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if not _is_wildcard(value):
        messages.append(_WILDCARD_MESSAGE)
    return messages


def fully_qualified_domain_name(value: str) -> list[str]:
    """A domain of at least two segments, as for API groups and signers."""
    messages = dns1123_subdomain(value)
    if not messages and "." not in value:
        return ["should be a domain with at least two segments separated by dots"]
    return messages


def qualified_name(value: str) -> list[str]:
    """``[PREFIX/]NAME``: keys of labels and annotations, finalizers, extended resources."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return [
            f"a qualified name {_QUALIFIED_MESSAGE} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ]
    messages = []
    if slash:
        if prefix:
            messages += [f"prefix part {m}" for m in _subdomain_bytes(prefix)]
        else:
            messages.append("prefix part must be non-empty")
    if not name:
        messages.append("name part must be non-empty")
    elif len(name.encode()) > LABEL_LIMIT:
        messages.append(f"name part {_too_long(LABEL_LIMIT, 'bytes')}")
    if not _is_qualified(name):
        messages.append(f"name part {_QUALIFIED_MESSAGE}")
    return messages


def _subdomain_bytes(value: str) -> list[str]:
    messages = [_too_long(SUBDOMAIN_LIMIT, "bytes")] if len(value.encode()) > SUBDOMAIN_LIMIT else []
    if not _is_subdomain(value):
        messages.append(_SUBDOMAIN_MESSAGE)
    return messages


def label_value(value: str) -> list[str]:
    messages = [_too_long(LABEL_LIMIT, "bytes")] if len(value.encode()) > LABEL_LIMIT else []
    if not _is_label_value(value):
        messages.append(_LABEL_VALUE_MESSAGE)
    return messages


def path_segment(value: str) -> list[str]:
    """Names that only have to fit one segment of a URL path: RBAC objects, signing requests."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in ("/", "%") if char in value]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret, which becomes a file name."""
    messages = [_too_long(SUBDOMAIN_LIMIT)] if len(value) > SUBDOMAIN_LIMIT else []
    if not _is_config_key(value):
        messages.append(_CONFIG_KEY_MESSAGE)
    if value in (".", ".."):
        messages.append(f"must not be '{value}'")
    elif value.startswith(".."):
        messages.append("must not start with '..'")
    return messages


def environment_name(value: str) -> list[str]:
    """Environment variables: printable ASCII but ``=``."""
    if not value:
        return ["environment variable name must be non-empty"]
    if any(not " " <= char <= "~" or char == "=" for char in value):
        return [_ENVIRONMENT_MESSAGE]
    return []


def c_identifier(value: str) -> list[str]:
    return [] if _is_c_identifier(value) else [_C_IDENTIFIER_MESSAGE]


def http_header_name(value: str) -> list[str]:
    return [] if _is_header(value) else [_HEADER_MESSAGE]


def percent(value: str) -> list[str]:
    return [] if _is_percent(value) else [_PERCENT_MESSAGE]


def port_name(value: str) -> list[str]:
    """IANA service names: container port names and what refers to them."""
    messages = [_too_long(15)] if len(value) > 15 else []
    if not re.fullmatch("[-a-z0-9]+", value):
        messages.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        messages.append("must contain at least one letter (a-z)")
    if "--" in value:
        messages.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        messages.append("must not begin or end with a hyphen")
    return messages


def decimal_integer(value: str) -> list[str]:
    """A whole number of 64 bits, written the one way."""
    if not re.fullmatch("0|-?[1-9][0-9]*", value):
        return ["must be a valid decimal integer in canonical form"]
    if not -(1 << 63) <= int(value) < 1 << 63:
        return [f'strconv.ParseInt: parsing "{value}": value out of range']
    return []


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def read_ip(value: str) -> tuple[IPv4Address | IPv6Address | None, bool]:
    """(address or None, whether one of its numbers has leading zeros, which Go's old parser let pass)."""
    import ipaddress

    head, colon, tail = value.rpartition(":")
    octets = tail.split(".")
    plain = value
    if len(octets) == 4:
        plain = head + colon + ".".join(octet.lstrip("0") or octet[-1:] for octet in octets)
    try:
        return (ipaddress.ip_address(plain) if "%" not in value else None), plain != value
    except ValueError:
        return None, False


def ip_address(value: str) -> list[str]:
    """IPv4 or IPv6 without a zone, leading zeros of decimal numbers, or IPv4 in the clothes of IPv6."""
    found, zeros = read_ip(value)
    if found is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if zeros:
        return ["must not have leading 0s"]
    return ["must not be an IPv4-mapped IPv6 address"] if getattr(found, "ipv4_mapped", None) else []


def canonical_ip_address(value: str) -> list[str]:
    """:func:`ip_address`, written the one way that Kubernetes writes it itself."""
    return ip_address(value) or _canonical(value, str(read_ip(value)[0]))


def cidr(value: str) -> list[str]:
    """``ADDRESS/BITS`` without host bits, and an address as :func:`ip_address` wants it."""
    import ipaddress

    head, _, bits = value.partition("/")
    found, zeros = read_ip(head)
    if found is None or not re.fullmatch(r"[0-9]{1,9}", bits) or int(bits) > found.max_prefixlen:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    if zeros or str(int(bits)) != bits:
        return ["must not have leading 0s in IP or prefix length"]
    if getattr(found, "ipv4_mapped", None):
        return ["must not have an IPv4-mapped IPv6 address"]
    if ipaddress.ip_network(value, strict=False).network_address != found:
        return ["must not have bits set beyond the prefix length"]
    return []


def canonical_cidr(value: str) -> list[str]:
    """:func:`cidr`, written the one way that Kubernetes writes it itself."""
    import ipaddress

    return cidr(value) or _canonical(value, str(ipaddress.ip_network(value)))


def _canonical(value: str, wanted: str) -> list[str]:
    return [] if value == wanted else [f'must be in canonical form ("{wanted}")']


def mask_trailing_dash(prefix: str) -> str:
    """A ``generateName`` made comparable with the rule for whole names, which may not end in ``-``."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def random_suffix(rng: random.Random, n: int = 5) -> str:
    """``n`` characters of :data:`SUFFIX_ALPHABET`."""
    return "".join(rng.choices(SUFFIX_ALPHABET, k=n))


def generate(base: str, rng: random.Random) -> str:
    """A name from a ``generateName``: the base, shortened if need be, and a suffix of five."""
    return base[:GENERATED_BASE_LIMIT] + random_suffix(rng)
