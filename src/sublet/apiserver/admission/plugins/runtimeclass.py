"""Adds a runtime class's overhead and scheduling to the pods that use it."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import tolerations, usage
from sublet.machinery.status import forbidden

_GROUP = "node.k8s.io"
_WITHOUT = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


async def _admit(attributes: Attributes, context: Context) -> None:
    spec = attributes.new().setdefault("spec", {})
    name = spec.get("runtimeClassName") or ""
    if not name:
        if spec.get("overhead"):
            raise _refused(attributes, _WITHOUT)
        return
    found = await context.reader.get(_GROUP, "runtimeclasses", "", name)
    if found is None:
        found = await context.reader.get_latest(_GROUP, "runtimeclasses", "", name)
    if found is None:
        raise _refused(attributes, f'pod rejected: RuntimeClass "{name}" not found')
    overhead = (found.get("overhead") or {}).get("podFixed") or {}
    if spec.get("overhead") and usage.amounts(spec["overhead"]) != usage.amounts(overhead):
        why = "doesn't match RuntimeClass's defined Overhead"
        raise _refused(attributes, f"pod rejected: Pod's Overhead {why}" if overhead else _WITHOUT)
    if overhead:
        spec["overhead"] = dict(overhead)
    scheduling = found.get("scheduling") or {}
    selector = scheduling.get("nodeSelector") or {}
    mine = spec.get("nodeSelector") or {}
    clash = sorted(key for key in selector if key in mine and mine[key] != selector[key])
    if clash:
        raise _refused(
            attributes,
            f"conflict: runtimeClass.scheduling.nodeSelector[{clash[0]}] = {selector[clash[0]]}; pod.spec.nodeSelector[{clash[0]}] = {mine[clash[0]]}",
        )
    if selector:
        spec["nodeSelector"] = {**mine, **selector}
    if scheduling.get("tolerations"):
        spec["tolerations"] = tolerations.merged(spec.get("tolerations") or (), scheduling["tolerations"])
    attributes.mutated = True


def _refused(attributes: Attributes, why: str) -> Exception:
    return forbidden("", "pods", attributes.name, why)


PLUGIN = Plugin("RuntimeClass", on("pods", operations=(CREATE,)), admit=_admit)
