"""A pod is not resized beyond what its node has, nor on nodes that cannot (from 1.36 on)."""

from __future__ import annotations

from sublet.apiserver.admission.framework import UPDATE, Attributes, Context, Plugin, on
from sublet.machinery import objects, usage
from sublet.machinery.kind import Object
from sublet.machinery.quantity import from_value
from sublet.machinery.status import Forbidden, forbidden

_SINCE = 36
_OS = "kubernetes.io/os"
_NONE = from_value(0)


async def _validate(attributes: Attributes, context: Context) -> None:
    new, old = attributes.new(), attributes.old()
    name = str((new.get("spec") or {}).get("nodeName") or "")
    if context.minor < _SINCE or not name or new.get("spec") == old.get("spec"):
        return
    node = await context.reader.get("", "nodes", "", name)
    if node is None:
        raise _refused(attributes, f'node "{name}" not found')
    if lacking := _lacking(new, node):
        raise _refused(attributes, f"Node didn't have enough allocatable resources: {'; '.join(lacking)}")
    system = objects.labels(node).get(_OS, "")
    if system != "linux":
        why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
        raise _refused(attributes, why)


def _lacking(pod: Object, node: Object) -> list[str]:
    """Millicores and bytes that a pod asks for and its node does not have."""
    wanted = usage.pod_requests(pod)
    there = usage.amounts((node.get("status") or {}).get("allocatable"))
    cpu, most_cpu = wanted.get("cpu", _NONE).milli(), there.get("cpu", _NONE).milli()
    memory, most_memory = wanted.get("memory", _NONE).value(), there.get("memory", _NONE).value()
    found = []
    if cpu > most_cpu:
        found.append(f"cpu, requested: {cpu}, allocatable: {most_cpu}")
    if memory > most_memory:
        found.append(f"memory, requested: {memory}, allocatable: {most_memory}")
    return found


def _refused(attributes: Attributes, why: str) -> Forbidden:
    return forbidden("", "pods", attributes.name, why)


PLUGIN = Plugin(
    "PodResizeValidator", on("pods", operations=(UPDATE,), subresources=("resize",)), validate=_validate
)
