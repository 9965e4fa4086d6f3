"""ExtendedResourceToleration: pods that ask for an extended resource bear the taints of nodes kept for it."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.machinery import usage


async def _admit(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().get("spec") or {}
    wanted = sorted(
        {
            name
            for key in ("containers", "initContainers")
            for container in spec.get(key) or ()
            for name in (container.get("resources") or {}).get("requests") or {}
            if usage.is_extended(name)
        }
    )
    tolerations = list(spec.get("tolerations") or ())
    made = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in wanted]
    added = [each for each in made if each not in tolerations]
    if added:
        spec["tolerations"] = tolerations + added
        attributes.mutated = True


PLUGIN = Plugin("ExtendedResourceToleration", on("pods"), admit=_admit)
