"""Secrets, tenant to host: those that pods use, or all; what changes on either side reaches the other."""

from __future__ import annotations

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.syncer import references
from sublet.syncer.declare import WRITE, Follow, Pair, Rule, Scope, ToHost

_INDEX = "secrets in use"
_TOKEN = "kubernetes.io/service-account-token"


class Settings(Struct, frozen=True):
    enabled: bool = True
    all: bool = False
    """Also those that no pod uses."""


def used(tenant: Object, scope: Scope, settings: Settings) -> bool:
    """A pod refers to it, it asks for it by annotation, or all are synced."""
    if settings.all or objects.annotations(tenant).get(scope.mapping.names.force_sync) == "true":
        return True
    pods = scope.tenant_objects(resource("pods"))
    pods.add_index(_INDEX, references.secrets)
    return bool(pods.by_index(_INDEX, objects.key(tenant)))


async def to_host(tenant: Object, _scope: Scope, _settings: Settings) -> Object:
    body: Object = {key: tenant[key] for key in ("data", "immutable") if key in tenant}
    kind = tenant.get("type") or "Opaque"
    # The host's own controller would take a token of the tenant for one of its accounts'.
    return {**body, "type": "Opaque" if kind == _TOKEN else kind}


def update(pair: Pair, _scope: Scope, _settings: Settings) -> None:
    pair.both_ways_by_key("data")
    pair.both_ways("immutable")


SYNC = ToHost(
    resource=resource("secrets"),
    key="secrets",
    settings=Settings,
    to_host=to_host,
    update=update,
    wanted=used,
    follows=(Follow(resource("pods"), lambda pod, _scope: references.secrets(pod)),),
    not_copied=frozenset({"kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"}),
    host_rules=lambda _settings: (Rule(("",), ("secrets",), WRITE),),
)
