"""ConfigMaps, tenant to host: those that pods use, or all; what changes on either side reaches the other."""

from __future__ import annotations

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.syncer import references
from sublet.syncer.declare import WRITE, Follow, Pair, Rule, Scope, ToHost

_INDEX = "configmaps in use"


class Settings(Struct, frozen=True):
    enabled: bool = True
    all: bool = False
    """Also those that no pod uses."""


def used(tenant: Object, scope: Scope, settings: Settings) -> bool:
    """A pod refers to it, it asks for it by annotation, or all are synced."""
    if settings.all or objects.annotations(tenant).get(scope.mapping.names.force_sync) == "true":
        return True
    pods = scope.tenant_objects(resource("pods"))
    pods.add_index(_INDEX, references.config_maps)
    return bool(pods.by_index(_INDEX, objects.key(tenant)))


async def to_host(tenant: Object, _scope: Scope, _settings: Settings) -> Object:
    return {key: tenant[key] for key in ("data", "binaryData", "immutable") if key in tenant}


def update(pair: Pair, _scope: Scope, _settings: Settings) -> None:
    pair.both_ways_by_key("data", "binaryData")
    pair.both_ways("immutable")


SYNC = ToHost(
    resource=resource("configmaps"),
    key="configMaps",
    settings=Settings,
    to_host=to_host,
    update=update,
    wanted=used,
    follows=(Follow(resource("pods"), lambda pod, _scope: references.config_maps(pod)),),
    host_rules=lambda _settings: (Rule(("",), ("configmaps",), WRITE),),
)
