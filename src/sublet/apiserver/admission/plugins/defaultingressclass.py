"""Ingresses that name no class get the default one."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import objects

DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_LEGACY_CLASS = "kubernetes.io/ingress.class"


async def _admit(attributes: Attributes, context: Context) -> None:
    ingress = attributes.new()
    spec = ingress.setdefault("spec", {})
    if spec.get("ingressClassName") is not None or _LEGACY_CLASS in objects.annotations(ingress):
        return
    classes = [
        found
        for found in await context.reader.list("networking.k8s.io", "ingressclasses")
        if objects.annotations(found).get(DEFAULT) == "true"
    ]
    if not classes:
        return
    classes.sort(key=objects.name)
    newest = max(classes, key=lambda c: str(c["metadata"].get("creationTimestamp", "")))
    spec["ingressClassName"] = objects.name(newest)
    attributes.mutated = True


PLUGIN = Plugin("DefaultIngressClass", on("ingresses.networking.k8s.io", operations=(CREATE,)), admit=_admit)
