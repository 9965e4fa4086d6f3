"""A new node is not ready: nothing is scheduled to it before its conditions have been seen."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on

NOT_READY = "node.kubernetes.io/not-ready"


async def _admit(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().setdefault("spec", {})
    taints = spec.get("taints") or []
    if any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
        return
    spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
    attributes.mutated = True


PLUGIN = Plugin("TaintNodesByCondition", on("nodes", operations=(CREATE,)), admit=_admit)
