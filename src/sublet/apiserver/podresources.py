"""``/metrics/resources``: what each pod asks for and may take, which upstream's scheduler tells (stable metrics)."""

from __future__ import annotations

from sublet.apiserver import stored
from sublet.apiserver.pace import Pace
from sublet.apiserver.registry import Registry
from sublet.machinery import usage
from sublet.machinery.exposition import heading, label_text
from sublet.machinery.kind import Object

_SAYS = (
    "broken down by pod. This shows the resource usage the scheduler and kubelet expect per pod for resources along with "
    "the unit for the resource if any."
)
_UNITS = {"cpu": "cores", "memory": "bytes", "storage": "bytes", "ephemeral-storage": "bytes"}
_PREFIXES = (("hugepages-", "bytes"), ("attachable-volumes-", "integer"))


async def text(registry: Registry) -> str:
    """Of all pods that are not at their end; made when asked for, in pieces."""
    kind = registry.kinds.stored("", "pods")
    pace, limits, requests = Pace(), list[str](), list[str]()
    for entry in registry.cache(kind).entries(stored.key_prefix(kind.resource)) if kind else ():
        pod = entry.object
        if not _is_over(pod):
            labels = _labels(pod)
            limits += _samples("kube_pod_resource_limit", labels, usage.pod_limits(pod))
            requests += _samples("kube_pod_resource_request", labels, usage.pod_requests(pod))
        if pace.due:
            await pace.pause()
    told = []
    if limits:
        what = f"[STABLE] Resources limit for workloads on the cluster, {_SAYS}"
        told += [*heading("kube_pod_resource_limit", what, "gauge"), *limits]
    if requests:
        what = f"[STABLE] Resources requested by workloads on the cluster, {_SAYS}"
        told += [*heading("kube_pod_resource_request", what, "gauge"), *requests]
    return "".join(f"{line}\n" for line in told)


def _is_over(pod: Object) -> bool:
    on_node = (pod.get("spec") or {}).get("nodeName")
    return bool(on_node) and (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _labels(pod: Object) -> dict[str, str]:
    meta, spec = pod["metadata"], pod.get("spec") or {}
    priority = spec.get("priority")
    return {
        "namespace": meta["namespace"], "node": spec.get("nodeName") or "", "pod": meta["name"],
        "priority": "" if priority is None else str(priority), "resource": "",
        "scheduler": spec.get("schedulerName") or "", "unit": "",
    }  # fmt: skip


def _samples(name: str, labels: dict[str, str], amounts: usage.Amounts) -> list[str]:
    found = []
    for resource, amount in sorted(amounts.items()):
        if amount:
            told = labels | {"resource": resource, "unit": _unit(resource)}
            whole, rest = divmod(amount.nano, 10**9)
            found.append(f"{name}{{{label_text(told.items())}}} {amount.nano / 10**9 if rest else whole}")
    return found


def _unit(resource: str) -> str:
    known = next((unit for prefix, unit in _PREFIXES if resource.startswith(prefix)), "")
    return _UNITS.get(resource, known)
