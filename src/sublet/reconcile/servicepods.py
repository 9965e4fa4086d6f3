"""Which pods a service has and on which ports: shared by the controllers of Endpoints and EndpointSlices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sublet.client.informer import Informer
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_labels
from sublet.reconcile import workloads

_GATHER = 0.05
"""Seconds for which pod changes are gathered before a service is looked at."""


def selector_of(service: Object) -> dict[str, str]:
    """The selector; empty for services without one and for ExternalName, whose endpoints are not ours."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return {}
    return spec.get("selector") or {}


def addresses(pod: Object) -> list[str]:
    """All IPs of the pod, the first one first."""
    status = pod.get("status") or {}
    found = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    if not found and status.get("podIP"):
        found = [status["podIP"]]
    return found


def hostname(service: Object, pod: Object) -> str:
    """The pod's DNS name below a headless service of its subdomain; empty where it has none."""
    spec = pod.get("spec") or {}
    if spec.get("hostname") and spec.get("subdomain") == objects.name(service):
        return str(spec["hostname"])
    return ""


def target_reference(pod: Object) -> Object:
    return {
        "kind": "Pod",
        "namespace": objects.namespace(pod),
        "name": objects.name(pod),
        "uid": objects.uid(pod),
    }


def target_port(service_port: Object, pod: Object) -> int | None:
    """The number of the pod's port behind a service port; None where no container names it."""
    target = service_port.get("targetPort")
    if target in (None, 0, ""):
        return int(service_port["port"])
    if isinstance(target, int):
        return target
    spec = pod.get("spec") or {}
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == (
                service_port.get("protocol") or "TCP"
            ):
                return int(port["containerPort"])
    return None


def ports(service: Object, pod: Object) -> list[Object]:
    """name, port, protocol (and appProtocol) of each service port the pod has."""
    found = []
    for service_port in (service.get("spec") or {}).get("ports") or ():
        number = target_port(service_port, pod)
        if number is None:
            continue
        port: Object = {"port": number, "protocol": service_port.get("protocol") or "TCP"}
        port["name"] = service_port.get("name") or ""
        if service_port.get("appProtocol"):
            port["appProtocol"] = service_port["appProtocol"]
        found.append(port)
    return found


def publishes_unready(service: Object) -> bool:
    return bool((service.get("spec") or {}).get("publishNotReadyAddresses"))


def is_headless(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def _relevant(pod: Object) -> tuple[object, ...]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return (
        objects.labels(pod),
        workloads.phase(pod),
        status.get("podIP"),
        status.get("podIPs"),
        workloads.is_ready(pod),
        objects.is_deleting(pod),
        spec.get("nodeName"),
    )


class ServicePods:
    """Tells which services are concerned by a change of a pod, and finds a service's pods."""

    def __init__(
        self, services: Informer, pods: Informer, enqueue_after: Callable[[str, float], None]
    ) -> None:
        self._services = services
        self._pods = pods
        self._enqueue_after = enqueue_after
        pods.add_handler(self._on_pod)

    def of(self, service: Object) -> list[Object]:
        """The pods the service selects, by name."""
        chosen = from_labels(selector_of(service))
        found = self._pods.list(objects.namespace(service), chosen)
        return sorted(found, key=objects.name)

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        if event == "update" and old is not None and _relevant(pod) == _relevant(old):
            return
        keys = {*self._concerned(pod), *(self._concerned(old) if old is not None else ())}
        for key in keys:
            self._enqueue_after(key, _GATHER)

    def _concerned(self, pod: Object) -> Iterator[str]:
        labels = objects.labels(pod).items()
        for service in self._services.list(objects.namespace(pod)):
            wanted = selector_of(service)
            if wanted and wanted.items() <= labels:
                yield objects.key(service)
