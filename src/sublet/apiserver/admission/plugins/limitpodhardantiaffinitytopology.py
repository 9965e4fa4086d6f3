"""LimitPodHardAntiAffinityTopology: pods keep others off their node, not off whole zones."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.machinery.status import forbidden

_HOSTNAME = "kubernetes.io/hostname"


async def _validate(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().get("spec") or {}
    anti = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    for term in anti.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        key = term.get("topologyKey") or ""
        if key != _HOSTNAME:
            why = (
                f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key "
                f"{_HOSTNAME} is allowed"
            )
            raise forbidden("", "pods", attributes.name, why)


PLUGIN = Plugin("LimitPodHardAntiAffinityTopology", on("pods"), validate=_validate)
