"""The address under which others reach this machine, and where Services get theirs."""

from __future__ import annotations

import ipaddress
import socket

from sublet.machinery.networks import cidr, service_ranges
from sublet.machinery.settings import ConfigurationError

_FAR = {socket.AF_INET: "198.51.100.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses of nobody, to which only the default route leads."""


def of_machine(near: str) -> str:
    """The address of the interface of the default route, of the family of ``near``; ``""`` where there is none.

    No packet is sent: the kernel says from which address it would be.
    """
    family = socket.AF_INET6 if ":" in near else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_FAR[family], 9))
            found = str(probe.getsockname()[0])
    except OSError:
        return ""
    return "" if _special(found) else found


def advertised(host: str) -> str:
    """The address that a server which listens on ``host`` tells others, as upstream: its own, or where it listens on
    all of them that of the default route. A loopback address where it listens on nothing else, or there is none."""
    try:
        address = ipaddress.ip_address(host or "0.0.0.0")
    except ValueError:
        return "127.0.0.1"
    if address.is_unspecified:
        return of_machine(host) or "127.0.0.1"
    return host


def _special(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address.is_loopback or address.is_link_local or address.is_unspecified


def service_range(stated: str) -> str:
    """One or two ranges of Services in their canonical form. Raises :class:`ConfigurationError`."""
    try:
        return ",".join(str(each) for each in service_ranges(stated))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def pod_range(stated: str) -> str:
    """One or two ranges of pods in their canonical form; nothing where none is stated. Raises :class:`ConfigurationError`."""
    found = []
    for each in filter(None, (part.strip() for part in stated.split(","))):
        try:
            found.append(cidr(each))
        except ValueError:
            raise ConfigurationError(f"invalid CIDR address: {each}") from None
    if len(found) > 1 and len({each.version for each in found}) == 1:
        raise ConfigurationError(
            f"len of ClusterCIDRs=={len(found)} and they are not configured as dual stack "
            "(at least one from each IPFamily)"
        )
    if len(found) > 2:
        raise ConfigurationError(f"length of clusterCIDRs is:{len(found)} more than max allowed of 2")
    return ",".join(str(each) for each in found)


def check_family(service_cidr: str, address: str) -> None:
    """Service ``default/kubernetes`` is of one family, and so must its endpoint be. Raises :class:`ConfigurationError`.

    A loopback address is no endpoint of anything; of a name nobody knows the family.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return
    primary = service_ranges(service_cidr)[0]
    if not parsed.is_loopback and parsed.version != primary.version:
        raise ConfigurationError(f'service IP family "{primary}" must match public address family "{parsed}"')
