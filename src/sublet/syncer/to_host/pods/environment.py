"""Variables by which a pod finds the tenant's API and Services, as a kubelet of the tenant would set them."""

from __future__ import annotations

from collections.abc import Iterable

from sublet.machinery import objects
from sublet.machinery.kind import Object


def service_variables(service: Object) -> dict[str, str]:
    """The variables of one Service; none when it has no address."""
    spec = service.get("spec") or {}
    address, ports = spec.get("clusterIP"), spec.get("ports") or []
    if not address or address == "None" or not ports:
        return {}
    prefix = objects.name(service).upper().replace("-", "_")
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    host = f"[{address}]" if ":" in address else address
    for number, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        if port.get("name"):
            name = port["name"].upper().replace("-", "_")
            found[f"{prefix}_SERVICE_PORT_{name}"] = str(port["port"])
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if number == 0:
            found[f"{prefix}_PORT"] = url
        one = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
        found |= {
            one: url,
            f"{one}_PROTO": protocol.lower(),
            f"{one}_PORT": str(port["port"]),
            f"{one}_ADDR": address,
        }
    return found


def api_variables(address: str) -> dict[str, str]:
    """``KUBERNETES_SERVICE_HOST`` and its like: where a pod reaches the tenant's API."""
    return service_variables(
        {
            "metadata": {"name": "kubernetes"},
            "spec": {
                "clusterIP": address,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
            },
        }
    )


def injected(address: str, services: Iterable[Object], *, links: bool) -> dict[str, str]:
    """All variables to set; with ``links`` those of the Services in the pod's namespace too."""
    found: dict[str, str] = {}
    if links:
        for service in services:
            found |= service_variables(service)
    return {**found, **api_variables(address)}


def prepend(container: Object, variables: dict[str, str]) -> None:
    """Puts variables before the container's own, which count more and may refer to them."""
    own = container.get("env") or []
    named = {each.get("name") for each in own}
    container["env"] = [
        *({"name": name, "value": value} for name, value in sorted(variables.items()) if name not in named),
        *own,
    ]
