"""Warnings about IP addresses and ranges of them in forms that Kubernetes will refuse one day.

Source: Kubernetes' apimachinery pkg/util/validation/ip.go.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from sublet.machinery.status import quoted

Warnings = Iterator[str]


def _sloppy(text: str) -> str:
    """An address without the leading zeros that Go's old parser let pass."""
    return re.sub(r"(^|\.)0+(?=\d)", r"\1", text) if ":" not in text else text


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def address(value: str, path: str) -> Warnings:
    """Of an IP address in an unusual form; what is none is validation's to tell."""
    try:
        found = ipaddress.ip_address(_sloppy(value))
    except ValueError:
        return
    if _sloppy(value) != value or getattr(found, "ipv4_mapped", None):
        yield (
            f"{path}: non-standard IP address {quoted(value)} will be considered invalid in a future Kubernetes release: "
            f"use {quoted(_plain(found))}"
        )
    elif found.version == 6 and str(found) != value:
        yield f"{path}: IPv6 address {quoted(value)} should be in RFC 5952 canonical format ({quoted(str(found))})"


def cidr(value: str, path: str) -> Warnings:
    """Of a range of addresses in an unusual form."""
    head, slash, bits = value.partition("/")
    try:
        found = ipaddress.ip_interface(f"{_sloppy(head)}{slash}{bits}")
    except ValueError:
        return
    network, told = found.network, False
    if found.ip != network.network_address:
        single = f"{found.ip}/{found.max_prefixlen}"
        yield (
            f"{path}: CIDR value {quoted(value)} is ambiguous in this context (should be {quoted(str(network))} or "
            f"{quoted(single)}?)"
        )
        told = True
    if _sloppy(head) != head or getattr(found.ip, "ipv4_mapped", None):
        yield (
            f"{path}: non-standard CIDR value {quoted(value)} will be considered invalid in a future Kubernetes release: "
            f"use {quoted(str(network))}"
        )
        told = True
    if not told and found.version == 6 and str(network) != value:
        yield f"{path}: IPv6 CIDR value {quoted(value)} should be in RFC 5952 canonical format ({quoted(str(network))})"
