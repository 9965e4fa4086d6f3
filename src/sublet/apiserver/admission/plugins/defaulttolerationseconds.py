"""Pods bear a node that is not ready or not reachable for some minutes unless they say otherwise."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on

_KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


async def _admit(attributes: Attributes, context: Context) -> None:
    spec = attributes.new().setdefault("spec", {})
    tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key, seconds in zip(_KEYS, context.configuration.toleration_seconds, strict=True)
        if not any(_tolerates(toleration, key) for toleration in tolerations)
    ]
    if not added:
        return
    spec["tolerations"] = [*tolerations, *added]
    attributes.mutated = True


def _tolerates(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


PLUGIN = Plugin("DefaultTolerationSeconds", on("pods"), admit=_admit)
