"""PodNodeSelector: a namespace's annotation says on which nodes its pods run."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import objects
from sublet.machinery.status import InternalError, forbidden

_DEFAULT = "clusterDefaultNodeSelector"
ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"


async def _admit(attributes: Attributes, context: Context) -> None:
    namespace = await context.reader.get_latest("", "namespaces", "", attributes.namespace)
    stated = objects.annotations(namespace).get(ANNOTATION) if namespace is not None else None
    if stated is None:
        stated = context.configuration.pod_node_selector.get(_DEFAULT)
    if not stated:
        return
    wanted = _labels(stated)
    spec = attributes.new().setdefault("spec", {})
    mine = spec.get("nodeSelector") or {}
    if any(key in mine and mine[key] != value for key, value in wanted.items()):
        raise forbidden(
            "", "pods", attributes.name,
            "pod node label selector conflicts with its namespace node label selector",
        )  # fmt: skip
    spec["nodeSelector"] = {**wanted, **mine}
    attributes.mutated = True


async def _validate(attributes: Attributes, context: Context) -> None:
    allowed = context.configuration.pod_node_selector.get(attributes.namespace)
    if not allowed:
        return
    may, mine = _labels(allowed), (attributes.new().get("spec") or {}).get("nodeSelector") or {}
    if any(may.get(key) != value for key, value in mine.items()):
        raise forbidden(
            "",
            "pods",
            attributes.name,
            "pod node label selector labels conflict with its namespace whitelist",
        )


def _labels(text: str) -> dict[str, str]:
    """``a=b,c=d``."""
    found = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise InternalError(
                f"Internal error occurred: invalid selector in annotation {ANNOTATION}: {text!r}"
            )
        found[key.strip()] = value.strip()
    return found


PLUGIN = Plugin("PodNodeSelector", on("pods", operations=(CREATE,)), admit=_admit, validate=_validate)
