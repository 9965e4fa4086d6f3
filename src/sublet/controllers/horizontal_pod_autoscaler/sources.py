"""From one metric of an autoscaler's spec to the replicas it asks for and what its status shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.controllers.horizontal_pod_autoscaler import proposals
from sublet.controllers.horizontal_pod_autoscaler.metrics import Metrics, milli
from sublet.controllers.horizontal_pod_autoscaler.proposals import NoProposal, Tolerance
from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object, Resource
from sublet.machinery.selectors import go_text
from sublet.reconcile import workloads

Proposal = tuple[int, str, Object]
"""(replicas, the metric's name for people, its entry of status.currentMetrics)"""


@dataclass(frozen=True)
class Target:
    """What is scaled, as it is now."""

    namespace: str
    selector: str
    pods: Sequence[Object]
    replicas: int
    """Wanted by its spec."""
    observed: int
    """Counted in its status."""
    now: float

    @property
    def ready(self) -> int:
        return sum(workloads.is_ready(pod) and workloads.phase(pod) == "Running" for pod in self.pods)


def amount(thousandths: int) -> str:
    return quantity.from_milli(thousandths).canonical()


class Sources:
    """One method per type of metric."""

    def __init__(self, metrics: Metrics, resource_of: Callable[[str, str], Awaitable[Resource]]) -> None:
        self._metrics = metrics
        self._resource_of = resource_of

    async def propose(self, metric: Mapping[str, Any], target: Target, spec: Mapping[str, Any]) -> Proposal:
        """Raises ``NoProposal`` where the metric cannot be had, ``StatusError`` where the API cannot be asked."""
        tolerance = _tolerance(spec.get("behavior") or {})
        match metric["type"]:
            case "Resource":
                return await self._resource(metric["resource"], target, tolerance, "")
            case "ContainerResource":
                source = metric["containerResource"]
                return await self._resource(source, target, tolerance, source["container"])
            case "Pods":
                return await self._pods(metric["pods"], target, tolerance)
            case "Object":
                return await self._object(metric["object"], target, tolerance)
            case "External":
                return await self._external(metric["external"], target, tolerance)
        raise NoProposal(f"unknown metric source type {metric['type']!r}")

    async def _resource(
        self, source: Mapping[str, Any], target: Target, tolerance: Tolerance, container: str
    ) -> Proposal:
        name, wanted = source["name"], source["target"]
        part = "utilization" if wanted["type"] == "Utilization" else "usage"
        try:
            return await self._of_resource(source, target, tolerance, container)
        except NoProposal as error:
            raise NoProposal(f"failed to get {name} {part}: {error}") from None

    async def _of_resource(
        self, source: Mapping[str, Any], target: Target, tolerance: Tolerance, container: str
    ) -> Proposal:
        name, wanted = source["name"], source["target"]
        samples = await self._metrics.of_pods(name, target.namespace, target.selector, container)
        cpu = name == "cpu"
        shown: Object = {"name": name} | ({"container": container} if container else {})
        if wanted["type"] == "Utilization":
            requests = _requests(target.pods, name, container)
            replicas, percent, average = proposals.by_utilization(
                target.pods, samples, requests, int(wanted["averageUtilization"]), target.replicas, cpu,
                target.now, tolerance,
            )  # fmt: skip
            current: Object = {"averageUtilization": percent, "averageValue": amount(average)}
            text = f"{name} {'container ' if container else ''}resource utilization (percentage of request)"
        else:
            replicas, average = proposals.by_average(
                target.pods,
                samples,
                milli(wanted["averageValue"]),
                target.replicas,
                cpu,
                target.now,
                tolerance,
            )
            current = {"averageValue": amount(average)}
            text = f"{name} {'container ' if container else ''}resource"
        kind = "containerResource" if container else "resource"
        entry = {"type": kind[0].upper() + kind[1:], kind: {**shown, "current": current}}
        return replicas, text, entry

    async def _pods(self, source: Mapping[str, Any], target: Target, tolerance: Tolerance) -> Proposal:
        metric = source["metric"]
        samples = await self._metrics.custom_of_pods(metric, target.namespace, target.selector)
        replicas, average = proposals.by_average(
            target.pods, samples, milli(source["target"]["averageValue"]), target.replicas, False, target.now,
            tolerance,
        )  # fmt: skip
        entry = {"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": amount(average)}}}
        return replicas, f"pods metric {metric['name']}", entry

    async def _object(self, source: Mapping[str, Any], target: Target, tolerance: Tolerance) -> Proposal:
        metric, described = source["metric"], source["describedObject"]
        kind = await self._resource_of(described.get("apiVersion", "v1"), described["kind"])
        used = await self._metrics.custom_of_object(metric, kind, described["name"], target.namespace)
        replicas, current = _whole(used, source["target"], target, tolerance)
        entry = {
            "type": "Object", "object": {"metric": metric, "describedObject": described, "current": current},
        }  # fmt: skip
        return replicas, f"{described['kind']} metric {metric['name']}", entry

    async def _external(self, source: Mapping[str, Any], target: Target, tolerance: Tolerance) -> Proposal:
        metric = source["metric"]
        used = await self._metrics.external(metric, target.namespace)
        replicas, current = _whole(used, source["target"], target, tolerance)
        entry = {"type": "External", "external": {"metric": metric, "current": current}}
        return replicas, f"external metric {metric['name']}({go_text(metric.get('selector'))})", entry


def _whole(used: int, wanted: Mapping[str, Any], target: Target, tolerance: Tolerance) -> tuple[int, Object]:
    """For an amount that belongs to all pods together: (replicas, current)."""
    if wanted["type"] == "AverageValue":
        replicas = proposals.by_shared_average(
            used, milli(wanted["averageValue"]), target.observed, tolerance
        )
        return replicas, {"averageValue": amount(-(-used // target.observed) if target.observed else used)}
    replicas = proposals.by_value(used, milli(wanted["value"]), target.replicas, target.ready, tolerance)
    return replicas, {"value": amount(used)}


def _requests(pods: Sequence[Object], name: str, container: str) -> dict[str, int]:
    """What each pod requests of a resource, as a whole or container by container. Raises ``NoProposal`` for one without."""
    found = {}
    for pod in pods:
        total = 0
        spec = pod.get("spec") or {}
        whole = ((spec.get("resources") or {}).get("requests") or {}).get(name)
        if whole is not None and not container:
            found[objects.name(pod)] = milli(whole)
            continue
        sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
        for each in [*(spec.get("containers") or ()), *sidecars]:
            if container and each["name"] != container:
                continue
            requested = ((each.get("resources") or {}).get("requests") or {}).get(name)
            if requested is None:
                raise NoProposal(
                    f"missing request for {name} in container {each['name']} of Pod {objects.name(pod)}"
                )
            total += milli(requested)
        found[objects.name(pod)] = total
    return found


def _tolerance(behavior: Mapping[str, Any]) -> Tolerance:
    def of(direction: str) -> float:
        stated = (behavior.get(direction) or {}).get("tolerance")
        return proposals.TOLERANCE if stated is None else milli(stated) / 1000

    return Tolerance(of("scaleUp"), of("scaleDown"))
