"""Claims, tenant to host: the host provisions and binds; what it chose flows back (reference 2.14)."""

from __future__ import annotations

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.syncer import translate
from sublet.syncer.declare import WRITE, Pair, Rule, Scope, ToHost, copied

_BINDER = frozenset(
    {
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "volume.beta.kubernetes.io/storage-provisioner",
        "volume.kubernetes.io/storage-provisioner",
        "volume.kubernetes.io/selected-node",
        "volume.kubernetes.io/storage-resizer",
    }
)


class Settings(Struct, frozen=True):
    enabled: bool = True


async def to_host(tenant: Object, scope: Scope, _settings: Settings) -> Object:
    spec = copied(tenant["spec"])
    namespace = tenant["metadata"]["namespace"]
    spec.pop("volumeName", None)
    if spec.get("selector") is not None:
        spec["selector"] = scope.mapping.label_selector(spec["selector"])
    for key in ("dataSource", "dataSourceRef"):
        source = spec.get(key) or {}
        if source.get("kind") == "PersistentVolumeClaim" and not source.get("namespace"):
            source["name"] = scope.mapping.host_name(source["name"], namespace)
    return {"spec": spec}


def update(pair: Pair, _scope: Scope, _settings: Settings) -> None:
    pair.to_host("spec.resources.requests")
    pair.to_tenant("status")
    # What the host decides only once, where the tenant left it open.
    for path in ("spec.volumeName", "spec.storageClassName"):
        if translate.at(pair.tenant, path) is None:
            pair.to_tenant(path)


SYNC = ToHost(
    resource=resource("persistentvolumeclaims"),
    key="persistentVolumeClaims",
    settings=Settings,
    to_host=to_host,
    update=update,
    host_decides=_BINDER,
    status=True,
    survives_recreation=True,
    force=True,
    host_rules=lambda _settings: (Rule(("",), ("persistentvolumeclaims",), WRITE),),
)
