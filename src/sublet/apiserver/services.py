"""What happens around writes of Services: IP families, ClusterIPs and node ports taken and given back."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from sublet.apiserver.node_ports import NodePorts
from sublet.apiserver.service_ips import Refused, ServiceIPs, held
from sublet.apiserver.writing import Transaction
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, invalid_object
from sublet.machinery.status import invalid as invalid_value

_WITH_PORTS = ("NodePort", "LoadBalancer")


class _Taken(Struct):
    """What one write reserved and, once it stands, gives back."""

    ips: ServiceIPs
    ports: NodePorts
    new_ips: list[str] = field(default_factory=list)
    new_ports: list[int] = field(default_factory=list)
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
            self._families(new, old, errors)
            if not errors:
                await self._addresses(new, old, taken, errors)
            if errors:
                raise invalid_object("", "Service", objects.name(new), errors)
            self._node_ports(new, old, taken)
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
        """Settles policy and families of an object that its kind's own rules accepted."""
        spec, before = new["spec"], (old or {}).get("spec") or {}
        if spec.get("type") == "ExternalName":
            return
        headless = spec.get("clusterIP") == "None"
        without_selector = headless and not spec.get("selector")
        policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if without_selector else "SingleStack")
        families = list(spec.get("ipFamilies") or ())
        errors += _stacks(spec, policy, before)
        for index, ip in enumerate([] if headless else spec.get("clusterIPs") or ()):
            family = "IPv6" if ":" in ip else "IPv4"
            if index < len(families):
                continue
            if family == self.ips.family:
                families.append(family)
            else:
                why = f"{family} is not configured on this cluster"
                errors.append(invalid_value(f"spec.clusterIPs[{index}]", spec["clusterIPs"], why))
        if errors:
            return
        if not without_selector:
            errors += self._unknown_families(policy, families)
        elif policy != "SingleStack" and len(families) < 2:
            # Whoever keeps the endpoints of such a Service may have addresses that this cluster has not.
            first = families[0] if families else self.ips.family
            families = [first, "IPv6" if first == "IPv4" else "IPv4"]
        spec["ipFamilies"] = families or [self.ips.family]

    def _unknown_families(self, policy: str, families: list[str]) -> Iterator[FieldError]:
        if policy == "RequireDualStack":
            why = "this cluster is not configured for dual-stack services"
            yield invalid_value("spec.ipFamilyPolicy", policy, why)
        for index, family in enumerate(families):
            if family != self.ips.family:
                yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")

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

    def _node_ports(self, new: Object, old: Object | None, taken: _Taken) -> None:
        spec = new["spec"]
        kind = spec.get("type") or "ClusterIP"
        if kind not in _WITH_PORTS:
            return
        choose = kind == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
        taken.new_ports += self.ports.fill(new, old, choose=choose)
        if kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            taken.new_ports += self.ports.health_check(new, old)
        self.ports.promise(taken.new_ports)


def _stacks(spec: Object, policy: str, before: Object) -> Iterator[FieldError]:
    """Whether as many addresses and families are listed as the policy speaks of."""
    for listed, what, many in (
        ("clusterIPs", "cluster IP", "cluster IPs"),
        ("ipFamilies", "IP family", "IP families"),
    ):
        now, then = spec.get(listed) or [], before.get(listed) or []
        if policy == "SingleStack" and len(now) == 2:
            why = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {many} are specified"
            yield invalid_value("spec.ipFamilyPolicy", policy, why)
        if policy != "SingleStack" and now and len(now) < len(then) and now[0] == then[0]:
            why = f"must be 'SingleStack' to release the secondary {what}"
            yield invalid_value("spec.ipFamilyPolicy", policy, why)
