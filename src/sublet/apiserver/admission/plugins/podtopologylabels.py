"""PodTopologyLabels: pods learn the zone and region of the node they are given to (on by default from 1.35)."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import objects

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
_SINCE = 35


async def _admit(attributes: Attributes, context: Context) -> None:
    if context.minor < _SINCE:
        return
    obj = attributes.new()
    if attributes.subresource == "binding":
        target = obj.get("target") or {}
        node = str(target.get("name") or "") if target.get("kind") == "Node" else ""
    else:
        node = str((obj.get("spec") or {}).get("nodeName") or "")
    found = await context.reader.get("", "nodes", "", node) if node else None
    if found is None:
        return
    there = {key: value for key, value in objects.labels(found).items() if key in LABELS}
    mine = objects.labels(obj)
    if there.keys() - mine.keys():
        obj.setdefault("metadata", {})["labels"] = {**there, **mine}
        attributes.mutated = True


PLUGIN = Plugin(
    "PodTopologyLabels", on("pods", operations=(CREATE,), subresources=("", "binding")), admit=_admit
)
