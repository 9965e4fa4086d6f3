"""Metadata of host copies: what is made for a new one, and what flows between the two afterwards."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from types import MappingProxyType

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.syncer import translate
from sublet.syncer.declare import Pair, Scope, ToHost
from sublet.syncer.mapping import Mapping


def create(tenant: Object, body: Object, sync: ToHost, scope: Scope) -> Object:
    """The whole host object for a body made by ``sync.to_host``. Raises ``Waiting`` without an owner to name."""
    labels, annotations = sync.decorate(tenant, scope)
    annotations = {**annotations, **((body.get("metadata") or {}).get("annotations") or {})}
    owner = None
    if sync.resource.namespaced and scope.settings.set_owner:
        owner = scope.service.owner(objects.controller_of(tenant) is not None)
    return of_copy(tenant, body, sync, scope.mapping, owner, labels, annotations)


def of_copy(
    tenant: Object,
    body: Object,
    sync: ToHost,
    mapping: Mapping,
    owner: Object | None,
    more_labels: Dict[str, str] = MappingProxyType({}),
    more_annotations: Dict[str, str] = MappingProxyType({}),
) -> Object:
    """The whole host object, with everything that says whose copy it is."""
    kind = sync.resource
    name = mapping.host_name_of(tenant, kind)
    labels = copied_labels(tenant, sync, mapping)
    annotations = copied_annotations(tenant, sync, mapping)
    metadata: Object = {
        "name": name,
        "labels": {**labels, **more_labels, **mapping.identity_labels(tenant, kind)},
        "annotations": {
            **annotations,
            **more_annotations,
            **mapping.identity_annotations(tenant, kind, name),
            **_came_from_tenant(annotations, labels, mapping),
        },
    }
    if kind.namespaced:
        metadata["namespace"] = mapping.host_namespace
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {**body, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def copied_labels(tenant: Object, sync: ToHost, mapping: Mapping) -> dict[str, str]:
    labels = objects.labels(tenant)
    return mapping.labels({k: v for k, v in labels.items() if k not in sync.not_copied_labels})


def copied_annotations(tenant: Object, sync: ToHost, mapping: Mapping) -> dict[str, str]:
    kept = sync.not_copied | sync.host_decides
    return {
        mapping.annotation_key(key): value
        for key, value in objects.annotations(tenant).items()
        if key not in kept
    }


def _came_from_tenant(
    annotations: dict[str, str], labels: dict[str, str], mapping: Mapping
) -> dict[str, str]:
    names = mapping.names
    found = {}
    if annotations:
        found[names.managed_annotations] = "\n".join(sorted(annotations))
    if labels:
        found[names.managed_labels] = "\n".join(sorted(labels))
    return found


def update(pair: Pair, sync: ToHost, scope: Scope) -> None:
    """Labels and annotations of both drafts."""
    mapping, kind, names = scope.mapping, sync.resource, scope.mapping.names
    more_labels, more_annotations = sync.decorate(pair.tenant_now, scope)
    annotations_before = objects.annotations(pair.host_now)
    own_labels = {**more_labels, **mapping.identity_labels(pair.tenant_now, kind)}
    labels = _flow(pair, "labels", scope, sync.not_copied_labels, frozenset(), names.managed_labels)
    annotations = _flow(
        pair, "annotations", scope, sync.not_copied, sync.host_decides, names.managed_annotations
    )
    of_tenant = _family(names.key("annotation"), mapping.tenant)
    own_annotations = {
        key: value
        for key, value in annotations_before.items()
        if names.is_own(key)
        and not key.startswith(of_tenant)
        and key not in (names.managed_labels, names.managed_annotations, names.block_deletion)
    }
    own_annotations |= more_annotations
    own_annotations |= mapping.identity_annotations(pair.tenant_now, kind, objects.name(pair.host_now))
    own_annotations |= _came_from_tenant(
        copied_annotations(pair.tenant, sync, mapping), copied_labels(pair.tenant, sync, mapping), mapping
    )
    metadata = pair.host["metadata"]
    metadata["labels"] = {**labels, **own_labels}
    metadata["annotations"] = {**annotations, **own_annotations}


def _family(prefix: str, tenant: str) -> str:
    return f"{prefix}-{tenant}-x-"


def _flow(
    pair: Pair, field: str, scope: Scope, excluded: frozenset[str], host_decides: frozenset[str], memo: str
) -> dict[str, str]:
    """Merges one of the two maps; changes the tenant's draft and returns the host's, without our own keys."""
    mapping, names = scope.mapping, scope.mapping.names
    translated = mapping.label_key if field == "labels" else mapping.annotation_key
    path = f"metadata.{field}"

    def of_tenant(obj: Object | None) -> dict[str, str]:
        values: dict[str, str] = translate.at(obj or {}, path) or {}
        return {translated(k): v for k, v in values.items() if k not in excluded and k not in host_decides}

    back = {translated(key): key for key in translate.at(pair.tenant_now, path) or {}}
    for key in translate.at(pair.last_tenant or {}, path) or {}:
        back.setdefault(translated(key), key)

    def of_host(obj: Object | None) -> dict[str, str]:
        values: dict[str, str] = translate.at(obj or {}, path) or {}
        return {
            k: v
            for k, v in values.items()
            if k not in excluded and k not in host_decides and (k in back or not names.is_own(k))
        }

    last = None
    if pair.last_tenant is not None and pair.last_host is not None:
        last = of_tenant(pair.last_tenant), of_host(pair.last_host)
    listed = objects.annotations(pair.host_now).get(memo, "")
    tenant, host = translate.merged(
        of_tenant(pair.tenant_now), of_host(pair.host_now), last, frozenset(listed.split("\n"))
    )
    now: dict[str, str] = translate.at(pair.tenant_now, path) or {}
    theirs: dict[str, str] = translate.at(pair.host_now, path) or {}
    wanted = {back.get(key, key): value for key, value in tenant.items()}
    wanted |= {key: value for key, value in now.items() if key in excluded}
    wanted |= {key: theirs[key] for key in host_decides if key in theirs}
    if wanted != now:
        pair.tenant["metadata"][field] = wanted
    return {**host, **{k: v for k, v in theirs.items() if k in excluded or k in host_decides}}
