"""The files of configMap, secret, downwardAPI and projected volumes. Source: kubernetes.io, "Projected Volumes"."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.node import poddata
from sublet.node.atomicwriter import File
from sublet.node.environment import ConfigError, PodFacts, field_value, resource_value
from sublet.node.podobjects import PodObjects


class VolumeError(Exception):
    """A volume cannot be made now; the text says which and why. Tried again later."""


_DEFAULT_MODE = 0o644


async def payload(
    pod: Object, volume: Mapping[str, Any], facts: PodFacts, api: PodObjects
) -> dict[str, File]:
    """Relative path → file. Raises ``ValueError`` (a source is missing) or ``StatusError``."""
    if (source := volume.get("projected")) is not None:
        mode = _mode(source)
        files: dict[str, File] = {}
        for part in source.get("sources") or []:
            files |= await _part(pod, part, mode, facts, api)
        return files
    for kind in ("configMap", "secret", "downwardAPI"):
        if (source := volume.get(kind)) is not None:
            named = {**source, "name": source.get("name") or source.get("secretName")}
            return await _part(pod, {kind: named}, _mode(source), facts, api)
    raise ValueError("not a volume of files")


def _mode(source: Mapping[str, Any]) -> int:
    mode = source.get("defaultMode")
    return _DEFAULT_MODE if mode is None else int(mode)


async def _part(
    pod: Object, part: Mapping[str, Any], mode: int, facts: PodFacts, api: PodObjects
) -> dict[str, File]:
    if (source := part.get("configMap")) is not None:
        found = await api.get("configmaps", objects.namespace(pod), source["name"])
        return _selected(source, _config_map_data(found), mode, "configmap", objects.namespace(pod))
    if (source := part.get("secret")) is not None:
        found = await api.get("secrets", objects.namespace(pod), source["name"])
        return _selected(source, _secret_data(found), mode, "secret", objects.namespace(pod))
    if (source := part.get("downwardAPI")) is not None:
        return _downward(pod, source.get("items") or [], mode, facts)
    if (source := part.get("serviceAccountToken")) is not None:
        seconds = int(source.get("expirationSeconds") or 3600)
        token = await api.token(pod, source.get("audience") or "", seconds)
        owner = common_user(pod)
        private = (
            owner is not None or (poddata.spec(pod).get("securityContext") or {}).get("fsGroup") is not None
        )
        return {source["path"]: File(token.encode(), 0o600 if private else mode, owner)}
    raise ValueError(f"projected source of a type this node does not know: {', '.join(part)}")


def common_user(pod: Object) -> int | None:
    """The user all containers run as, when the pod says so."""
    of_pod = (poddata.spec(pod).get("securityContext") or {}).get("runAsUser")
    users = {
        (c.get("securityContext") or {}).get("runAsUser", of_pod)
        for c in (*poddata.init_containers(pod), *poddata.containers(pod))
    }
    only = users.pop() if len(users) == 1 else None
    return None if only is None else int(only)


def _config_map_data(found: Object | None) -> dict[str, bytes] | None:
    if found is None:
        return None
    data = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return data | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _secret_data(found: Object | None) -> dict[str, bytes] | None:
    if found is None:
        return None
    return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


def _selected(
    source: Mapping[str, Any], data: dict[str, bytes] | None, mode: int, kind: str, namespace: str
) -> dict[str, File]:
    optional = bool(source.get("optional"))
    if data is None:
        if optional:
            return {}
        raise ValueError(f'{kind} "{source["name"]}" not found')
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = File(data[item["key"]], _item_mode(item, mode))
        elif not optional:
            raise ValueError(f"{kind} references non-existent key: {item['key']}")
    return files


def _item_mode(item: Mapping[str, Any], mode: int) -> int:
    return mode if item.get("mode") is None else int(item["mode"])


def _downward(pod: Object, items: Iterable[Mapping[str, Any]], mode: int, facts: PodFacts) -> dict[str, File]:
    files = {}
    for item in items:
        if reference := item.get("fieldRef"):
            text = field_value(pod, reference["fieldPath"], facts)
        elif reference := item.get("resourceFieldRef"):
            container = poddata.find_container(pod, reference.get("containerName") or "")
            if container is None:
                raise ConfigError(f"container {reference.get('containerName')!r} not found")
            text = resource_value(container, reference["resource"], reference.get("divisor"), facts)
        else:
            raise ConfigError(f"downwardAPI file {item.get('path')!r} has no source")
        files[item["path"]] = File(text.encode(), _item_mode(item, mode))
    return files
