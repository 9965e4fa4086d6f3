"""Keeps this node's rules equal to the cluster's Services: informers in, one nft transaction per change out."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable

from sublet.client.client import Client
from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable
from sublet.netproxy.conntrack import Conntrack, Flow
from sublet.netproxy.endpoints import SERVICE_NAME, Family, NodePlace
from sublet.netproxy.nft import NFT
from sublet.netproxy.rules import Fragment, ProxySettings, fragment, ruleset
from sublet.netproxy.ruleset import Ruleset, changes, complete, removal

log = logging.getLogger(__name__)

_FAMILIES: tuple[Family, ...] = ("ip", "ip6")
_GATHER = 0.02
"""Seconds to wait after a change for those that come with it."""
_REST = 0.1
"""Seconds between two transactions at least: a storm of changes becomes a few large ones."""
_LOOK = 60.0
"""Seconds between looks whether somebody else removed our table (``nft flush ruleset``)."""
_FIRST_RETRY, _LAST_RETRY = 0.5, 30.0


class NetProxy:
    """One cluster's Services on one node. ``run`` works until cancelled and leaves the rules in place."""

    def __init__(
        self,
        client: Client,
        settings: ProxySettings,
        *,
        nft: NFT | None = None,
        conntrack: Conntrack | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self._nft = nft or NFT()
        self._conntrack = conntrack or Conntrack()
        self._services = Informer(client, resource("services"), clock=clock, rng=rng)
        self._slices = Informer(client, resource("endpointslices.discovery.k8s.io"), clock=clock, rng=rng)
        self._nodes = Informer(
            client,
            resource("nodes"),
            field_selector=f"metadata.name={settings.node_name}",
            clock=clock,
            rng=rng,
        )
        self._slices.add_index("service", _service_of)
        self._place = NodePlace(settings.node_name)
        self._dirty: set[str] = set()
        self._changed = asyncio.Event()
        self._fragments: dict[Family, dict[str, Fragment]] = {family: {} for family in _FAMILIES}
        self._applied: dict[Family, Ruleset] = {}
        self.applied = 0
        """How many transactions succeeded."""
        self.ready = asyncio.Event()
        """Set once the rules hold what the informers first listed."""

    async def run(self) -> None:
        """Raises :class:`ServiceUnavailable` at once when nft is missing; later failures are retried."""
        if missing := self._nft.missing():
            raise ServiceUnavailable("the service proxy cannot run here; missing: " + "; ".join(missing))
        followed = (self._services, self._slices, self._nodes)
        tasks = [asyncio.create_task(each.run()) for each in followed]
        try:
            for each in followed:
                await each.synced()
            self._services.add_handler(self._on_service)
            self._slices.add_handler(self._on_slice)
            self._nodes.add_handler(self._on_node)
            self._changed.set()
            await self._loop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def teardown(self) -> None:
        """Removes the rules."""
        await teardown(self.settings.table, self._nft)
        self._applied.clear()

    async def _loop(self) -> None:
        retry = _FIRST_RETRY
        while True:
            if not await self._wait():
                await self._look()
                continue
            self._changed.clear()
            try:
                await self._sync()
            except ServiceUnavailable as error:
                log.warning("the rules of Services could not be changed: %s", error.message)
                self._applied.clear()
                self._changed.set()
                await asyncio.sleep(retry)
                retry = min(retry * 2, _LAST_RETRY)
                continue
            retry = _FIRST_RETRY
            self.ready.set()
            await asyncio.sleep(_REST)

    async def _wait(self) -> bool:
        """Whether something changed; False after a quiet minute."""
        try:
            async with asyncio.timeout(_LOOK):
                await self._changed.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(_GATHER)
        return True

    async def _look(self) -> None:
        for family, held in list(self._applied.items()):
            try:
                there = await self._nft.has_chain(family, held.table, "services")
            except ServiceUnavailable as error:
                log.warning("%s", error.message)
                return
            if not there:
                log.warning("someone removed the table %s; writing it again", held.target)
                del self._applied[family]
                self._changed.set()

    async def _sync(self) -> None:
        before = {family: dict(held) for family, held in self._fragments.items()}
        self._refresh()
        for family in _FAMILIES:
            fragments = self._fragments[family]
            old = self._applied.get(family)
            if not fragments and family == "ip6" and old is None:
                continue
            new = ruleset((fragments[key] for key in sorted(fragments)), family, self.settings)
            text = complete(new) if old is None else changes(old, new)
            if text:
                await self._nft.apply(text)
                self.applied += 1
            self._applied[family] = new
            await self._conntrack.forget(stale_flows(before[family].values(), fragments.values()))

    def _refresh(self) -> None:
        """Makes the fragments of changed Services anew."""
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            service = self._services.get_key(key)
            for family in _FAMILIES:
                made = (
                    fragment(
                        service, self._slices.by_index("service", key), family, self._place, self.settings
                    )
                    if service is not None
                    else Fragment()
                )
                if made.elements:
                    self._fragments[family][key] = made
                else:
                    self._fragments[family].pop(key, None)

    def _touch(self, keys: Iterable[str]) -> None:
        self._dirty.update(keys)
        self._changed.set()

    def _on_service(self, event: str, service: Object, old: Object | None) -> None:
        if event != "update" or old is None or _said(service) != _said(old):
            self._touch([objects.key(service)])

    def _on_slice(self, event: str, piece: Object, old: Object | None) -> None:
        keys = {*_service_of(piece), *(_service_of(old) if old else ())}
        self._touch(keys)

    def _on_node(self, event: str, node: Object, old: Object | None) -> None:
        place = NodePlace.of(self.settings.node_name, node)
        if place != self._place:
            self._place = place
            self._touch(self._services.keys())


async def teardown(table: str, nft: NFT | None = None) -> None:
    """Removes a cluster's rules from this machine; nothing to do when they or nft are not there."""
    nft = nft or NFT()
    if nft.missing():
        return
    for family in _FAMILIES:
        await nft.apply(removal(family, table))


def stale_flows(before: Iterable[Fragment], now: Iterable[Fragment]) -> set[Flow]:
    """UDP flows that lead to where nothing answers any more."""
    current = {address: targets for each in now for address, targets in each.udp.items()}
    return {
        (*address, *target)
        for each in before
        for address, targets in each.udp.items()
        for target in targets - current.get(address, frozenset())
    }


def _service_of(piece: Object) -> list[str]:
    name = objects.labels(piece).get(SERVICE_NAME)
    return [f"{objects.namespace(piece)}/{name}"] if name else []


def _said(service: Object) -> tuple[object, ...]:
    """What of a Service the rules depend on."""
    status = (service.get("status") or {}).get("loadBalancer")
    return service.get("spec"), status, objects.labels(service)
