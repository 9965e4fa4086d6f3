"""A pod that runs is changed only as its node can follow: what that takes, the node must declare (from 1.36 on)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.apiserver.admission.framework import UPDATE, Attributes, Context, Plugin, on
from sublet.machinery import usage
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden

_SINCE = 36
_GUARANTEED_CPU = "GuaranteedQoSPodCPUResize"
_POD_RESOURCES = "InPlacePodLevelResourcesVerticalScaling"


async def _validate(attributes: Attributes, context: Context) -> None:
    new, old = attributes.new(), attributes.old()
    node = str((new.get("spec") or {}).get("nodeName") or "")
    if context.minor < _SINCE or not node or new.get("spec") == old.get("spec"):
        return
    wanted = _wanted(old, new)
    if not wanted:
        return
    found = await context.reader.get("", "nodes", "", node)
    if found is None:
        raise forbidden("", "pods", attributes.name, f'node "{node}" not found')
    declared = (found.get("status") or {}).get("declaredFeatures") or ()
    if missing := [feature for feature in wanted if feature not in declared]:
        why = f'pod update requires features {", ".join(missing)} which are not available on node "{node}"'
        raise forbidden("", "pods", attributes.name, why)


def _wanted(old: Object, new: Object) -> list[str]:
    """The features that an update takes."""
    found = []
    status, before, after = old.get("status") or {}, old["spec"], new["spec"]
    if status.get("qosClass") in (None, "Guaranteed"):
        pairs = zip(before.get("containers") or (), after.get("containers") or (), strict=False)
        if any(_cpu(one) != _cpu(other) for one, other in pairs):
            found.append(_GUARANTEED_CPU)
    if (before.get("resources") or {}) != (after.get("resources") or {}):
        found.append(_POD_RESOURCES)
    return found


def _cpu(container: Mapping[str, Any]) -> object:
    return usage.amounts((container.get("resources") or {}).get("requests")).get("cpu")


PLUGIN = Plugin(
    "NodeDeclaredFeatureValidator",
    on("pods", operations=(UPDATE,), subresources=("", "resize")),
    validate=_validate,
)
