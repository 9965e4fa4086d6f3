"""PodNodeSelector: a namespace's annotation says on which nodes its pods run."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import objects
from sublet.machinery.status import StatusError, forbidden

_DEFAULT = "clusterDefaultNodeSelector"
ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"


async def _admit(attributes: Attributes, context: Context) -> None:
    wanted = await _of_namespace(attributes, context)
    spec = attributes.new().setdefault("spec", {})
    mine = spec.get("nodeSelector") or {}
    _check(attributes, wanted, mine)
    if wanted:
        spec["nodeSelector"] = {**wanted, **mine}
        attributes.mutated = True
    await _validate(attributes, context)


async def _of_namespace(attributes: Attributes, context: Context) -> dict[str, str]:
    """What the namespace's annotation states, or the cluster's default where it has none."""
    namespace = await context.reader.get_latest("", "namespaces", "", attributes.namespace)
    stated = objects.annotations(namespace).get(ANNOTATION) if namespace is not None else None
    if stated is None:
        stated = context.configuration.pod_node_selector.get(_DEFAULT)
    return _labels(stated or "")


def _check(attributes: Attributes, wanted: dict[str, str], mine: dict[str, str]) -> None:
    if any(key in mine and mine[key] != value for key, value in wanted.items()):
        raise forbidden(
            "", "pods", attributes.name,
            "pod node label selector conflicts with its namespace node label selector",
        )  # fmt: skip


async def _validate(attributes: Attributes, context: Context) -> None:
    mine = (attributes.new().get("spec") or {}).get("nodeSelector") or {}
    _check(attributes, await _of_namespace(attributes, context), mine)
    may = _labels(context.configuration.pod_node_selector.get(attributes.namespace) or "")
    if may and any(may.get(key) != value for key, value in mine.items()):
        raise forbidden(
            "",
            "pods",
            attributes.name,
            "pod node label selector labels conflict with its namespace whitelist",
        )


def _labels(text: str) -> dict[str, str]:
    """``a=b,c=d``. What is wrong is told as upstream does, with an error that is no Status."""
    found = {}
    for part in text.split(",") if text else ():
        key, *values = part.split("=")
        if len(values) != 1:
            listed = " ".join([key, *values])
            raise StatusError(f"invalid selector: [{listed}]", code=500, reason="")
        found[key.strip()] = values[0].strip()
    return found


PLUGIN = Plugin("PodNodeSelector", on("pods", operations=(CREATE,)), admit=_admit, validate=_validate)
