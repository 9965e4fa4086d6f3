"""Services, tenant to host: the host gives addresses and node ports, and selects the copies of the tenant's pods."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, StatusError
from sublet.syncer import servicespec
from sublet.syncer.declare import WRITE, Pair, Rule, Scope, ToHost

log = logging.getLogger(__name__)

_SERVICES = resource("services")
_ATTEMPTS = 10


class Settings(Struct, frozen=True):
    enabled: bool = True


def wanted(tenant: Object, _scope: Scope, _settings: Settings) -> bool:
    """The tenant's API itself has a Service of its own on the host."""
    return objects.key(tenant) != servicespec.API_SERVICE


async def to_host(tenant: Object, scope: Scope, _settings: Settings) -> Object:
    return {"spec": servicespec.host_spec(tenant, scope.mapping)}


def update(pair: Pair, scope: Scope, _settings: Settings) -> None:
    pair.both_ways(*servicespec.BOTH_WAYS)
    host_spec: dict[str, Any] = pair.host["spec"]
    selector = servicespec.host_selector(pair.tenant, scope.mapping)
    if selector is None:
        host_spec.pop("selector", None)
    else:
        host_spec["selector"] = selector
    if host_spec.get("type") == "ExternalName":
        for key in servicespec.ADDRESSES:
            host_spec.pop(key, None)
    pair.to_tenant("status")


async def after(pair: Pair, scope: Scope, _settings: Settings) -> None:
    """A tenant Service that came without the host's address (a restore) is made again with it."""
    theirs, mine = pair.host["spec"].get("clusterIP"), pair.tenant["spec"].get("clusterIP")
    if not theirs or theirs == mine or pair.tenant["spec"].get("type") == "ExternalName":
        return
    again = servicespec.fresh(servicespec.with_addresses_of(pair.tenant, pair.host))
    name, namespace = objects.name(again), objects.namespace(again)
    await scope.tenant.delete(_SERVICES, name, namespace, uid=objects.uid(pair.tenant))
    for left in reversed(range(_ATTEMPTS)):
        try:
            await scope.tenant.create(_SERVICES, again, namespace)
            return
        except AlreadyExists:
            return  # somebody was quicker
        except StatusError as error:
            # Between the two steps there is no Service: that must not be the end of it.
            log.warning("making the Service %s/%s again: %s", namespace, name, error)
            if not left:
                raise
        await asyncio.sleep(0.5)


SYNC = ToHost(
    resource=_SERVICES,
    key="services",
    settings=Settings,
    to_host=to_host,
    update=update,
    wanted=wanted,
    status=True,
    after=after,
    survives_recreation=True,
    not_copied=frozenset({"field.cattle.io/publicEndpoints"}),
    host_rules=lambda _settings: (Rule(("",), ("services",), WRITE),),
)
