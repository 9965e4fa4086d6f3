"""PodTolerationRestriction: a namespace's annotations say which taints its pods bear, and may bear."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin, on
from sublet.machinery import codec, objects, tolerations, usage
from sublet.machinery.status import InternalError, forbidden

DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
Toleration = dict[str, Any]
_MEMORY_PRESSURE = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}


async def _admit(attributes: Attributes, context: Context) -> None:
    pod = attributes.new()
    spec = pod.setdefault("spec", {})
    mine: list[Toleration] = spec.get("tolerations") or []
    found = mine
    if attributes.operation == CREATE:
        found = tolerations.merged(await _stated(attributes, context, DEFAULTS), mine)
    if usage.qos_class(pod) != "BestEffort":
        found = tolerations.merged(found, [_MEMORY_PRESSURE])
    if found != mine:
        spec["tolerations"] = found
        attributes.mutated = True


async def _validate(attributes: Attributes, context: Context) -> None:
    allowed = await _stated(attributes, context, ALLOWED)
    if not allowed:
        return
    borne = (attributes.new().get("spec") or {}).get("tolerations") or ()
    if not all(any(tolerations.covers(each, toleration) for each in allowed) for toleration in borne):
        raise forbidden(
            "", "pods", attributes.name,
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
        )  # fmt: skip


async def _stated(attributes: Attributes, context: Context, annotation: str) -> list[Toleration]:
    namespace = await context.reader.get_latest("", "namespaces", "", attributes.namespace)
    text = objects.annotations(namespace).get(annotation) if namespace is not None else None
    if not text:
        return []
    try:
        found = codec.decode_json(text.encode())
    except codec.DecodeError as error:
        raise InternalError(f"Internal error occurred: annotation {annotation}: {error}") from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InternalError(f"Internal error occurred: annotation {annotation} is no list of tolerations")
    return found


PLUGIN = Plugin(
    "PodTolerationRestriction", on("pods", operations=(CREATE, UPDATE)), admit=_admit, validate=_validate
)
