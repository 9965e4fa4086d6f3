"""Forgets UDP flows to endpoints that are gone: without connections to end, they would never find another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

log = logging.getLogger(__name__)

Flow = tuple[str, int, str, int]
"""Address and port that were asked for (address ``""``: any, a node port), endpoint's address and port."""

_UDP = 17


class Conntrack:
    """The kernel's table of connections. Where it cannot be asked, flows end by their own timeout (30-120 s)."""

    def __init__(self, netns: str = "") -> None:
        self._netns = netns or None

    async def forget(self, flows: Collection[Flow]) -> None:
        """Ends UDP flows that a Service's address led to one of these endpoints."""
        if not flows:
            return
        try:
            count = await asyncio.to_thread(_forget, frozenset(flows), self._netns)
        except (OSError, ImportError) as error:
            log.info("UDP flows to removed endpoints end by themselves: %s", error)
        except _netlink_error() as error:
            log.info("UDP flows to removed endpoints end by themselves: %s", error)
        else:
            log.debug("%d UDP flows to removed endpoints forgotten", count)


def _netlink_error() -> type[Exception]:
    from pyroute2.netlink.exceptions import NetlinkError

    found: type[Exception] = NetlinkError
    return found


def _forget(flows: frozenset[Flow], netns: str | None) -> int:
    from pyroute2 import Conntrack as Kernel
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

    count = 0
    with Kernel(netns=netns) as kernel:
        wanted = NFCTAttrTuple(proto=_UDP)
        for entry in [*kernel.dump_entries(tuple_orig=wanted)]:
            asked, answered = entry.tuple_orig, entry.tuple_reply
            for address in (asked.daddr, ""):
                if (address, asked.dport, answered.saddr, answered.sport) in flows:
                    kernel.entry("del", tuple_orig=asked)
                    count += 1
                    break
    return count
