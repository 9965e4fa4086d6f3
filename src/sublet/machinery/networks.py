"""Ranges of addresses, of one family or of both."""

from __future__ import annotations

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LEAST = 8
"""Addresses that a range of Services must have."""


def family(value: str) -> str:
    """``IPv4`` or ``IPv6``, of an address or a range."""
    return "IPv6" if ":" in value else "IPv4"


def other(family: str) -> str:
    return "IPv6" if family == "IPv4" else "IPv4"


def cidr(text: str) -> Network:
    """``10.0.0.7/24``, whose host part counts for nothing, as in Go. Raises ``ValueError``; so does an address alone."""
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def service_ranges(text: str) -> tuple[Network, ...]:
    """``10.0.0.0/24`` or ``10.0.0.0/24,fd00::/112``: the ranges of Services, the first of which is the primary one.

    Raises ``ValueError`` with kube-apiserver's words about ``--service-cluster-ip-range``.
    """
    stated = [each.strip() for each in text.split(",")]
    if len(stated) > 2:
        raise ValueError("--service-cluster-ip-range must not contain more than two entries")
    found: list[Network] = []
    for each, why in zip(stated, ("[0] is not a valid cidr", "[1] is not an ip net"), strict=False):
        try:
            found.append(cidr(each))
        except ValueError:
            raise ValueError(f"service-cluster-ip-range{why}") from None
    if found[0].num_addresses < _LEAST:
        raise ValueError(
            "error determining service IP ranges for primary service cidr: "
            f"the service cluster IP range must be at least {_LEAST} IP addresses"
        )
    if len({each.version for each in found}) < len(found):
        raise ValueError(
            "--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family"
        )
    return tuple(found)
