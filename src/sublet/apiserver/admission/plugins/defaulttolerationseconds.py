"""Pods bear a node that is not ready or not reachable for five minutes unless they say otherwise."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on

SECONDS = 300
_KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


async def _admit(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().setdefault("spec", {})
    tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
    missing = [key for key in _KEYS if not any(_tolerates(t, key) for t in tolerations)]
    if not missing:
        return
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
        for key in missing
    ]
    spec["tolerations"] = [*tolerations, *added]
    attributes.mutated = True


def _tolerates(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


PLUGIN = Plugin("DefaultTolerationSeconds", on("pods"), admit=_admit)
