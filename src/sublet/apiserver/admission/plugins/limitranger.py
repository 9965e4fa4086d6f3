"""Defaults and bounds of resources from a namespace's LimitRanges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.machinery import objects, quantity, usage
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity
from sublet.machinery.status import forbidden

ANNOTATION = "kubernetes.io/limit-ranger"
Item = Mapping[str, Any]


def _handles(attributes: Attributes) -> bool:
    if attributes.target == ("", "pods"):
        created = attributes.operation == CREATE and not attributes.subresource
        return created or (attributes.operation == UPDATE and attributes.subresource == "resize")
    return (
        attributes.target == ("", "persistentvolumeclaims")
        and not attributes.subresource
        and attributes.operation in (CREATE, UPDATE)
    )


async def _ranges(attributes: Attributes, context: Context) -> Sequence[Object]:
    return await context.reader.list("", "limitranges", attributes.namespace)


def _items(ranges: Sequence[Object], kind: str) -> Iterator[Item]:
    for limit_range in ranges:
        for item in (limit_range.get("spec") or {}).get("limits") or ():
            if item.get("type") == kind:
                yield item


# -- defaults --


async def _admit(attributes: Attributes, context: Context) -> None:
    if attributes.plural != "pods":
        return
    pod = attributes.new()
    if objects.is_deleting(pod):
        return
    for limit_range in await _ranges(attributes, context):
        told: list[str] = []
        for key, word in (("containers", "container"), ("initContainers", "init container")):
            for container in (pod.get("spec") or {}).get(key) or ():
                for item in _items([limit_range], "Container"):
                    told += _fill(container, item, word)
        if told:  # of several ranges the last one that set something tells of it
            pod["metadata"]["annotations"] = {
                **objects.annotations(pod),
                ANNOTATION: "LimitRanger plugin set: " + "; ".join(told),
            }
            attributes.mutated = True


def _fill(container: dict[str, Any], item: Item, word: str) -> list[str]:
    told = []
    resources = container.setdefault("resources", {})
    for part, defaults, name in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        missing = {
            resource: amount
            for resource, amount in (item.get(defaults) or {}).items()
            if resource not in (resources.get(part) or {}) and not _limited(resources, part, resource)
        }
        if missing:
            resources[part] = {**(resources.get(part) or {}), **missing}
            told.append(f"{', '.join(sorted(missing))} {name} for {word} {container.get('name')}")
    return told


def _limited(resources: Mapping[str, Any], part: str, resource: str) -> bool:
    """A limit alone stands for the request too, which defaulting fills in."""
    return part == "requests" and resource in (resources.get("limits") or {})


# -- bounds --


async def _validate(attributes: Attributes, context: Context) -> None:
    ranges = await _ranges(attributes, context)
    if not ranges:
        return
    obj = attributes.new()
    if objects.is_deleting(obj):
        return  # nothing must keep it from being finalized
    for limit_range in ranges:
        wrong = list(dict.fromkeys(_wrong(attributes.plural, obj, limit_range)))
        if wrong:
            why = wrong[0] if len(wrong) == 1 else "[" + ", ".join(wrong) + "]"
            raise forbidden("", attributes.plural, attributes.name, why)


def _wrong(plural: str, obj: Object, limit_range: Object) -> Iterator[str]:
    """What breaks one LimitRange; the first that is broken is told."""
    spec = obj.get("spec") or {}
    if plural == "persistentvolumeclaims":
        requests = usage.amounts((spec.get("resources") or {}).get("requests"))
        for item in _items([limit_range], "PersistentVolumeClaim"):
            yield from _bounds(item, requests, {})
        return
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        if item.get("type") == "Container":
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                resources = container.get("resources") or {}
                yield from _bounds(
                    item, usage.amounts(resources.get("requests")), usage.amounts(resources.get("limits"))
                )
        elif item.get("type") == "Pod":
            yield from _bounds(item, usage.pod_requests(obj), usage.pod_limits(obj))


def _bounds(item: Item, requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> list[str]:
    kind = str(item.get("type"))
    wrong: list[str] = []
    for resource, low in usage.amounts(item.get("min")).items():
        wrong += _least(kind, resource, low, requests.get(resource), limits.get(resource))
    for resource, high in usage.amounts(item.get("max")).items():
        wrong += _most(kind, resource, high, requests.get(resource), limits.get(resource))
    for resource, ratio in (item.get("maxLimitRequestRatio") or {}).items():
        wrong += _ratio(kind, resource, quantity.parse(ratio), requests.get(resource), limits.get(resource))
    return wrong


def _least(
    kind: str, resource: str, low: Quantity, request: Quantity | None, limit: Quantity | None
) -> list[str]:
    if request is None:
        return [f"minimum {resource} usage per {kind} is {low.canonical()}.  No request is specified"]
    if request < low:
        return [
            f"minimum {resource} usage per {kind} is {low.canonical()}, but request is {request.canonical()}"
        ]
    if limit is not None and limit < low:
        return [f"minimum {resource} usage per {kind} is {low.canonical()}, but limit is {limit.canonical()}"]
    return []


def _most(
    kind: str, resource: str, high: Quantity, request: Quantity | None, limit: Quantity | None
) -> list[str]:
    word, bounded = ("request", request) if kind == "PersistentVolumeClaim" else ("limit", limit)
    if bounded is None:
        return [f"maximum {resource} usage per {kind} is {high.canonical()}.  No {word} is specified"]
    if high < bounded:
        return [
            f"maximum {resource} usage per {kind} is {high.canonical()}, but {word} is {bounded.canonical()}"
        ]
    if request is not None and high < request:
        return [
            f"maximum {resource} usage per {kind} is {high.canonical()}, but request is {request.canonical()}"
        ]
    return []


def _ratio(
    kind: str, resource: str, most: Quantity, request: Quantity | None, limit: Quantity | None
) -> list[str]:
    head = f"{resource} max limit to request ratio per {kind} is {most.canonical()}, but "
    if request is None or not request:
        return [head + "no request is specified or request is 0"]
    if limit is None or not limit:
        return [head + "no limit is specified or limit is 0"]
    found = limit.milli() / request.milli()
    if found * 1000 > most.milli():
        return [head + f"provided ratio is {found:f}"]
    return []


PLUGIN = Plugin("LimitRanger", _handles, admit=_admit, validate=_validate)
