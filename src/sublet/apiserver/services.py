"""What happens around writes of Services: IP families, ClusterIPs and node ports taken and given back."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from sublet.apiserver.node_ports import NodePorts, Port
from sublet.apiserver.service_ips import Refused, ServiceIPs, held
from sublet.apiserver.writing import Transaction
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, invalid_object, not_supported
from sublet.machinery.status import invalid as invalid_value

_WITH_PORTS = ("NodePort", "LoadBalancer")
_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")


class _Taken(Struct):
    """What one write reserved and, once it stands, gives back."""

    ips: ServiceIPs
    ports: NodePorts
    new_ips: list[str] = field(default_factory=list)
    new_ports: list[Port] = field(default_factory=list)
    dry_run: bool = False

    async def commit(self) -> None:
        if self.new_ports or self.ips.in_memory:
            # Until the cache shows the Service, only the promise keeps others off its ports.
            await self.ports.caught_up()
        self._settle()

    async def undo(self) -> None:
        self._settle()
        if not self.dry_run:
            for ip in self.new_ips:
                await self.ips.release(ip)

    def _settle(self) -> None:
        """What is promised only in memory may be forgotten: the Service shows it now, or never will."""
        self.ports.forget(self.new_ports)
        self.ips.settled(self.new_ips)


class ServiceDuty:
    """The :class:`~sublet.apiserver.registry.Duty` of Services."""

    def __init__(self, ips: ServiceIPs, ports: NodePorts) -> None:
        self.ips = ips
        self.ports = ports

    async def begin(self, new: Object | None, old: Object | None, dry_run: bool) -> Transaction | None:
        if new is None:
            return None
        taken = _Taken(self.ips, self.ports, dry_run=dry_run)
        errors: list[FieldError] = []
        try:
            keep_allocated(new, old)
            self._families(new, old, errors)
            if not errors:
                await self._addresses(new, old, taken, errors)
            if not errors:
                self._node_ports(new, taken, errors)
            if errors:
                raise invalid_object("", "Service", objects.name(new), errors)
        except BaseException:
            await taken.undo()
            raise
        if dry_run:
            await taken.commit()
        return taken

    async def wrote(self, new: Object | None, old: Object | None) -> None:
        kept = held(new)
        for ip in held(old):
            if ip not in kept:
                await self.ips.release(ip)

    def _families(self, new: Object, old: Object | None, errors: list[FieldError]) -> None:
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            for key in ("ipFamilies", "ipFamilyPolicy", "clusterIP", "clusterIPs"):
                spec.pop(key, None)
            return
        policy = spec.get("ipFamilyPolicy")
        if policy is not None and policy not in _POLICIES:
            errors.append(not_supported("spec.ipFamilyPolicy", policy, _POLICIES))
            return
        headless = spec.get("clusterIP") == "None" or "None" in (spec.get("clusterIPs") or ())
        without_selector = headless and not spec.get("selector")
        families = spec.get("ipFamilies") or []
        if policy == "RequireDualStack" and not without_selector:
            errors.append(
                invalid_value(
                    "spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"
                )
            )
            return
        for index, family in enumerate(families):
            if family not in ("IPv4", "IPv6"):
                errors.append(not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6")))
            elif family != self.ips.family and not without_selector:
                why = f"not configured on this cluster: {family}"
                errors.append(invalid_value(f"spec.ipFamilies[{index}]", family, why))
        if without_selector and policy is None and len(families) != 1:
            spec["ipFamilyPolicy"] = "RequireDualStack"
            other = "IPv6" if self.ips.family == "IPv4" else "IPv4"
            spec["ipFamilies"] = families or [self.ips.family, other]
            return
        spec["ipFamilyPolicy"] = policy or "SingleStack"
        spec["ipFamilies"] = families or [self.ips.family]

    async def _addresses(
        self, new: Object, old: Object | None, taken: _Taken, errors: list[FieldError]
    ) -> None:
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            return
        ips = list(spec.get("clusterIPs") or ())
        if not ips and spec.get("clusterIP"):
            ips = [spec["clusterIP"]]
        if ips[:1] == ["None"]:
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        wanted = ips[0] if ips else ""
        if wanted and wanted in held(old):
            spec["clusterIP"], spec["clusterIPs"] = wanted, ips
            return
        try:
            got = await self.ips.take(new, wanted, dry_run=taken.dry_run)
        except Refused as refused:
            errors.append(refused.error)
            return
        taken.new_ips.append(got)
        spec["clusterIP"], spec["clusterIPs"] = got, [got]

    def _node_ports(self, new: Object, taken: _Taken, errors: list[FieldError]) -> None:
        spec = new["spec"]
        kind = spec.get("type") or "ClusterIP"
        if kind not in _WITH_PORTS:
            return
        if kind == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True):
            taken.new_ports += self.ports.fill(new, errors)
        if kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            taken.new_ports += self.ports.health_check(new, errors)
        self.ports.promise(taken.new_ports)


def keep_allocated(new: Object, old: Object | None) -> None:
    """An update that leaves out what was allocated keeps it; one that no longer needs it gives it up."""
    if old is None:
        return
    spec: dict[str, Any] = new["spec"]
    before: dict[str, Any] = old.get("spec") or {}
    kind = spec.get("type") or "ClusterIP"
    if kind != "ExternalName" and before.get("type") != "ExternalName" and not spec.get("clusterIP"):
        for key in ("clusterIP", "clusterIPs"):
            if key in before and not spec.get(key):
                spec[key] = before[key]
    if kind in _WITH_PORTS and before.get("type") in _WITH_PORTS:
        used = {p.get("nodePort") for p in spec.get("ports") or () if p.get("nodePort")}
        known = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = known.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
    if kind not in _WITH_PORTS and before.get("type") in _WITH_PORTS:
        # Going back to ClusterIP: node ports left as they were are taken as not meant.
        numbers = {p.get("nodePort") for p in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in numbers:
                port.pop("nodePort", None)
    needs_check = kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
    if needs_check and before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]
    elif not needs_check and spec.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
