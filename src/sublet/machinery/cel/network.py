"""Kubernetes' URL, IP and CIDR functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from sublet.machinery import goaddr, gourl
from sublet.machinery.cel import functions as f
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.functions import define
from sublet.machinery.cel.values import Opaque
from sublet.machinery.status import quoted


class _Wrapped(Opaque):
    """Something from the standard library."""

    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(other.inner == self.inner)

    def __hash__(self) -> int:
        return hash(self.inner)

    def __str__(self) -> str:
        return str(self.inner)


class IP(_Wrapped):
    __slots__ = ()
    type_name = "net.IP"

    @property
    def size(self) -> int:
        """In bytes."""
        return 4 if self.inner.version == 4 else 16


class CIDR(_Wrapped):
    """An interface: the address as written, and its network."""

    __slots__ = ()
    type_name = "net.CIDR"

    @property
    def size(self) -> int:
        """In bytes, as far as the prefix goes."""
        return -(-int(self.inner.network.prefixlen) // 8)


class URL(_Wrapped):
    __slots__ = ()
    type_name = "kubernetes.URL"

    def __str__(self) -> str:
        return str(self.inner.text)


# -- addresses --


def _address(text: str) -> goaddr.Address:
    try:
        found = goaddr.parse_address(text)
    except ValueError as error:
        raise EvaluationError(
            f"IP Address {quoted(text)} parse error during conversion from string: {error}"
        ) from error
    if "%" in text:
        raise EvaluationError(f"IP Address {quoted(text)} with zone value is not allowed")
    return _unmapped(found, text)


def _unmapped(address: goaddr.Address, text: str) -> goaddr.Address:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {quoted(text)} is not allowed")
    return address


def _ip(value: Any) -> IP:
    return IP(value.inner.ip) if isinstance(value, CIDR) else IP(_address(value))


def _cidr(text: str) -> CIDR:
    try:
        found = goaddr.parse_prefix(text)
        _unmapped(found.ip, text)
    except (ValueError, EvaluationError) as error:
        # Upstream says so twice.
        told = "network address parse error during conversion from string: "
        raise EvaluationError(f"{told}{told if isinstance(error, ValueError) else ''}{error}") from error
    return CIDR(found)


def _good(make: Callable[[str], Any]) -> Callable[[str], bool]:
    def test(text: str) -> bool:
        try:
            make(text)
        except EvaluationError:
            return False
        return True

    return test


def _contains_ip(network: CIDR, value: Any) -> bool:
    address = value.inner if isinstance(value, IP) else _address(value)
    return address.version == network.inner.version and address in network.inner.network


def _contains_cidr(network: CIDR, value: Any) -> bool:
    other = value if isinstance(value, CIDR) else _cidr(value)
    if other.inner.version != network.inner.version:
        return False
    return bool(other.inner.network.subnet_of(network.inner.network))


def _global_unicast(value: IP) -> bool:
    a: goaddr.Address = value.inner
    broadcast = a.version == 4 and int(a) == 2**32 - 1
    return not (broadcast or a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local)


def _link_local_multicast(value: IP) -> bool:
    a: goaddr.Address = value.inner
    if a.version == 4:
        return a in ipaddress.ip_network("224.0.0.0/24")
    return a.is_multicast and a.packed[1] & 0x0F == 2


# -- URLs --


def _url(text: str) -> URL:
    try:
        gourl.parse_request(text)
        # Only this one takes fragments for what they are.
        return URL(gourl.parse(text))
    except gourl.UnreadableURLError as error:
        raise EvaluationError(f"URL parse error during conversion from string: {error}") from error


def _contains_price(arguments: Sequence[Any]) -> int:
    """Comparing as many bytes as the prefix has, after reading the other one if it is a text."""
    base, other = arguments
    return f.tenth(2 * base.size) + (f.tenth(len(other)) if isinstance(other, str) else 0)


def _contains_cidr_price(arguments: Sequence[Any]) -> int:
    return _contains_price(arguments) + f.tenth(arguments[0].size) + 1


def _ip_price(arguments: Sequence[Any]) -> int:
    return f.tenth(len(arguments[0])) if isinstance(arguments[0], str) else 1


_I, _C, _U = IP.type_name, CIDR.type_name, URL.type_name
NETWORK = (
    define("ip", f"(string) {_I}; {_C}.() {_I}", _ip, f.traverse, _ip_price),
    define("isIP", "(string) bool", _good(_address), f.traverse),
    define("ip.isCanonical", "(string) bool", lambda t: str(_address(t)) == t, f.traverse_twice),
    define("family", f"{_I}.() int", lambda i: i.inner.version),
    define("isUnspecified", f"{_I}.() bool", lambda i: i.inner.is_unspecified),
    define("isLoopback", f"{_I}.() bool", lambda i: i.inner.is_loopback),
    define("isLinkLocalMulticast", f"{_I}.() bool", _link_local_multicast),
    define("isLinkLocalUnicast", f"{_I}.() bool", lambda i: i.inner.is_link_local and not i.inner.is_multicast),
    define("isGlobalUnicast", f"{_I}.() bool", _global_unicast),
    define("cidr", f"(string) {_C}", _cidr, f.traverse),
    define("isCIDR", "(string) bool", _good(_cidr), f.traverse),
    define("containsIP", f"{_C}.(string) bool; {_C}.({_I}) bool", _contains_ip, lambda s: 4 + f.tenth(s[1]), _contains_price),
    define("containsCIDR", f"{_C}.(string) bool; {_C}.({_C}) bool", _contains_cidr, lambda s: 7 + f.tenth(s[1]), _contains_cidr_price),
    define("masked", f"{_C}.() {_C}", lambda c: CIDR(ipaddress.ip_interface(str(c.inner.network)))),
    define("prefixLength", f"{_C}.() int", lambda c: c.inner.network.prefixlen),
    define("url", f"(string) {_U}", _url, f.traverse),
    define("isURL", "(string) bool", _good(_url)),
    define("getScheme", f"{_U}.() string", lambda u: u.inner.scheme),
    define("getHost", f"{_U}.() string", lambda u: u.inner.host),
    define("getHostname", f"{_U}.() string", lambda u: u.inner.hostname),
    define("getPort", f"{_U}.() string", lambda u: u.inner.port),
    define("getEscapedPath", f"{_U}.() string", lambda u: u.inner.escaped_path),
    define("getQuery", f"{_U}.() map(string, list(string))", lambda u: u.inner.query()),
    define("string", f"({_I}) string; ({_C}) string", str),
)  # fmt: skip
