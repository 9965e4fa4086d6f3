"""PodTolerationRestriction: a namespace's annotations say which taints its pods bear, and may bear."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin, on
from sublet.machinery import codec, gotext, objects, tolerations, usage
from sublet.machinery.status import StatusError

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
        stated = await _stated(attributes, context, DEFAULTS)
        if stated is None:
            stated = [dict(each) for each in context.configuration.pod_tolerations.default]
        if stated:
            found = tolerations.merged(stated, mine) if mine else stated
    if usage.qos_class(pod) != "BestEffort":
        found = tolerations.merged(found, [_MEMORY_PRESSURE])
    if found and found != mine:
        spec["tolerations"] = found
        attributes.mutated = True
    await _validate(attributes, context)


async def _validate(attributes: Attributes, context: Context) -> None:
    borne = (attributes.new().get("spec") or {}).get("tolerations") or ()
    if not borne:
        return
    allowed, scope = await _stated(attributes, context, ALLOWED), "namespace"
    if allowed is None:
        allowed, scope = [dict(each) for each in context.configuration.pod_tolerations.whitelist], "cluster"
    if allowed and not all(any(tolerations.covers(each, one) for each in allowed) for one in borne):
        raise _failed(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its "
            f"{scope} whitelist"
        )


async def _stated(attributes: Attributes, context: Context, annotation: str) -> list[Toleration] | None:
    """What a namespace's annotation lists; None without one."""
    namespace = await context.reader.get_latest("", "namespaces", "", attributes.namespace)
    text = objects.annotations(namespace).get(annotation) if namespace is not None else None
    if text is None:
        return None
    if not text:
        return []
    try:
        found = codec.decode_json(text.encode())
    except codec.DecodeError as error:
        raise _failed(gotext.json_error(text.encode()) or str(error)) from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _failed(f"annotation {annotation} is no list of tolerations")
    return found


def _failed(why: str) -> StatusError:
    """Upstream's plug-in answers with errors that are no Status."""
    return StatusError(why, code=500, reason="")


PLUGIN = Plugin(
    "PodTolerationRestriction", on("pods", operations=(CREATE, UPDATE)), admit=_admit, validate=_validate
)
