"""The objects that every cluster has, made at start where they are missing (reference B.20, B.21)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sublet.apiserver import discovery
from sublet.apiserver.appliedconditions import apply_condition
from sublet.apiserver.flowcontrol.bootstrap import PRODUCER, flow_objects
from sublet.kinds.resources import resource
from sublet.machinery import objects as fields
from sublet.machinery.kind import Object
from sublet.machinery.networks import service_ranges
from sublet.machinery.status import AlreadyExists

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

NAMESPACES = ("kube-system", "default", "kube-public", "kube-node-lease")
_PRIORITY_CLASSES = (
    ("system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node."),
    ("system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
)  # fmt: skip
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
"""The label of APIServices that come and go with what is served."""
_ON_START = "onstart"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


async def namespaces(api: APIServer) -> None:
    """The system's own namespaces."""
    where = resource("namespaces")
    await asyncio.gather(
        *(
            ensure(
                api, where.qualified, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )
            for name in NAMESPACES
        )
    )


async def objects(api: APIServer) -> None:
    """Everything else; independent objects are written together."""
    await _service_cidr(api)
    api_services = list(_api_services(api))
    await _old_api_services(api, api_services)
    wanted: list[tuple[str, Object]] = [
        *(("priorityclasses.scheduling.k8s.io", each) for each in _priority_classes()),
        *(("apiservices.apiregistration.k8s.io", each) for each in api_services),
        ("services", _service(api)),
    ]
    plurals = ("prioritylevelconfigurations", "flowschemas")
    flows = [
        (f"{plural}.flowcontrol.apiserver.k8s.io", each)
        for plural, some in zip(plurals, flow_objects(), strict=True)
        for each in some
    ]
    await asyncio.gather(
        *(ensure(api, name, obj) for name, obj in wanted),
        *(ensure(api, name, obj, PRODUCER) for name, obj in flows),
    )
    await asyncio.gather(_authentication(api), api.endpoint.publish(), _cidr_ready(api), _tracking(api))


async def ensure(api: APIServer, name: str, obj: Object, manager: str = "") -> bool:
    """Creates an object unless it is there (or the minor does not have its kind); whether it was created."""
    where = resource(name)
    if api.kinds.find(where.group, where.version, where.plural) is None:
        return False
    namespace, own = fields.namespace(obj), fields.name(obj)
    if await api.reader.get(where.group, where.plural, namespace, own) is not None:
        return False
    try:
        await api.client.create(where, obj, namespace, field_manager=manager)
    except AlreadyExists:
        return False
    return True


def _priority_classes() -> Iterable[Object]:
    for name, value, description in _PRIORITY_CLASSES:
        yield {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        }


async def _service_cidr(api: APIServer) -> None:
    """The default ServiceCIDR, which gains a second family where the server does; otherwise it stays as it is."""
    name, cidrs = (
        "servicecidrs.networking.k8s.io",
        [str(each) for each in service_ranges(api.settings.service_cidr)],
    )
    obj: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs},
    }
    if await ensure(api, name, obj):
        return
    present = await api.reader.get("networking.k8s.io", "servicecidrs", "", "kubernetes")
    before = cidrs if present is None else present["spec"]["cidrs"]
    if len(cidrs) == 2 and before == cidrs[:1]:
        await api.client.patch(resource(name), "kubernetes", {"spec": {"cidrs": cidrs}})
    elif before != cidrs:
        _log.warning("The default ServiceCIDR %s does not match the flag configurations %s", before, cidrs)


async def _cidr_ready(api: APIServer) -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": fields.rfc3339(api.clock.now()),
    }

    def edit(obj: Object) -> bool:
        if fields.is_true(obj, "Ready"):
            return False
        apply_condition(obj, condition, "kubernetes-service-cidr-controller", api.clock.now())
        return True

    await api.reader.update("networking.k8s.io", "servicecidrs", "", "kubernetes", edit)


def _service(api: APIServer) -> Object:
    first = str(service_ranges(api.settings.service_cidr)[0][1])
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": api.settings.secure_port}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": first,
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [port],
        },
    }


def _api_services(api: APIServer) -> Iterable[Object]:
    """One local APIService per group and version that is served."""
    seen: set[tuple[str, str]] = set()
    for entry in api.kinds.entries():
        if entry.custom:
            continue
        for served in entry.served:
            if (served.group, served.version) in seen:
                continue
            seen.add((served.group, served.version))
            priorities = discovery.built_in_priorities(served.group, served.version)
            if priorities is not None:
                yield api_service(served.group, served.version, *priorities, managed=_ON_START)


async def _old_api_services(api: APIServer, wanted: Iterable[Object]) -> None:
    """Deletes those that an earlier start made for what is not served any more, and puts the others right."""
    where, now = resource("apiservices.apiregistration.k8s.io"), {fields.name(each): each for each in wanted}
    for obj in await api.reader.list(where.group, where.plural):
        made = now.get(fields.name(obj))
        if fields.labels(obj).get(MANAGED) != _ON_START:
            continue
        if made is None:
            await api.client.delete(where, fields.name(obj))
        elif {key: value for key, value in obj["spec"].items() if value} != made["spec"]:
            await api.client.update(where, {**made, "metadata": obj["metadata"]})


def api_service(group: str, version: str, group_priority: int, version_priority: int, managed: str) -> Object:
    """The APIService of a group and version that this server itself serves."""
    spec: dict[str, Any] = {
        "groupPriorityMinimum": group_priority, "version": version, "versionPriority": version_priority,
    }  # fmt: skip
    if group:
        spec["group"] = group
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": f"{version}.{group}",
            "labels": {MANAGED: managed},
        },
        "spec": spec,
    }


async def _authentication(api: APIServer) -> None:
    """What servers behind this one need in order to believe it."""
    settings = api.settings.authentication
    headers = settings.front_proxy_headers
    data = {
        "requestheader-allowed-names": _listed(settings.front_proxy_names),
        "requestheader-extra-headers-prefix": _header_names(headers.extra_prefixes, "X-Remote-Extra-"),
        "requestheader-group-headers": _header_names(headers.group, "X-Remote-Group"),
        "requestheader-uid-headers": _header_names(headers.uid, "X-Remote-Uid"),
        "requestheader-username-headers": _header_names(headers.username, "X-Remote-User"),
    }
    if settings.client_ca:
        data["client-ca-file"] = settings.client_ca.decode()
    if settings.front_proxy_ca:
        data["requestheader-client-ca-file"] = settings.front_proxy_ca.decode()
    name, namespace = "extension-apiserver-authentication", "kube-system"
    obj: Object = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data,
    }  # fmt: skip
    if await ensure(api, "configmaps", obj):
        return

    def edit(current: Object) -> bool:
        if current.get("data") == data:
            return False
        current["data"] = data
        return True

    await api.reader.update("", "configmaps", namespace, name, edit, "")


async def _tracking(api: APIServer) -> None:
    """Since when the use of legacy tokens is noted; a day that is no day, or has yet to come, is put right."""
    name, namespace = "kube-apiserver-legacy-service-account-token-tracking", "kube-system"
    today = fields.rfc3339(api.clock.now())[:10]
    obj: Object = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
        "data": {"since": today},
    }  # fmt: skip
    if await ensure(api, "configmaps", obj):
        return

    def edit(current: Object) -> bool:
        since = (current.get("data") or {}).get("since", "")
        if _DAY.fullmatch(since) and since <= today:
            return False
        current["data"] = {"since": today}
        return True

    await api.reader.update("", "configmaps", namespace, name, edit, "")


def _header_names(values: Iterable[str], own: str) -> str:
    """What servers behind this one believe: whatever its own proxy sends, and what this one believes itself."""
    names = {
        own.lower(): own,
        **{value: "-".join(p.capitalize() for p in value.split("-")) for value in values},
    }
    return _listed(names.values())


def _listed(values: Iterable[str]) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"
