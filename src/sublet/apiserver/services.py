"""What happens around writes of Services: IP families, ClusterIPs and node ports taken and given back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from sublet.apiserver import objectmeta, service_endpoints
from sublet.apiserver.node_ports import NodePorts
from sublet.apiserver.service_ips import Refused, ServiceIPs, canonical, held
from sublet.apiserver.writing import Transaction
from sublet.kinds.rules import services
from sublet.machinery import networks, objects
from sublet.machinery.kind import Kind, Object
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

    async def settle(self, kind: Kind, new: Object, old: Object | None) -> None:
        """Fills in policy and families. Raises Invalid with nothing but what is wrong with them, or with the name that
        an address is held for, or with an address, as upstream."""
        spec, before = new["spec"], (old or {}).get("spec") or {}
        if spec.get("type") == "ExternalName" or _goes_on_as_it_is(spec, before):
            return
        selectorless = spec.get("clusterIP") == "None" and not spec.get("selector")
        policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if selectorless else "SingleStack")
        self._refuse(new, list(services.cluster_addresses(spec, before)))
        families = list(spec.get("ipFamilies") or ())
        self._refuse(new, [*_stacks(spec, policy, before), *self._infer(spec, families)])
        if not selectorless:
            self._refuse(new, list(self._unknown_families(policy, families)))
        families = families or [self.ips.families[0]]
        # Whoever keeps the endpoints of a Service without selector may have addresses that this cluster has not.
        if len(families) == 1 and policy != "SingleStack" and (selectorless or len(self.ips.families) == 2):
            families.append(networks.other(families[0]))
        spec["ipFamilies"] = families
        if before.get("type") in (None, "ExternalName") and spec.get("clusterIP") != "None":
            # Its address will be held for it by its name.
            wrong = objectmeta.validate_create(new, kind)
            self._refuse(new, [error for error in wrong if error.field == "metadata.name"])
        self._refuse_outside(new, held(old))

    def _refuse_outside(self, new: Object, kept: Sequence[str]) -> None:
        """Addresses that are in no range, before anything else is judged; ``kept`` are the Service's already."""
        spec = new["spec"]
        ips = list(spec.get("clusterIPs") or ())
        for ip in () if ips[:1] == ["None"] else ips:
            if canonical(ip) not in kept and (why := self.ips.outside(ip)):
                shown = [*ips, *[""] * (len(spec["ipFamilies"]) - len(ips))]
                self._refuse(
                    new, [invalid_value("spec.clusterIPs", shown, f"failed to allocate IP {ip}: {why}")]
                )

    def _refuse(self, service: Object, errors: Sequence[FieldError]) -> None:
        if errors:
            raise invalid_object("", "Service", objects.name(service), errors)

    def _infer(self, spec: Object, families: list[str]) -> Iterator[FieldError]:
        """Adds the families of addresses that no family is stated for."""
        if spec.get("clusterIP") == "None":
            return
        for index, ip in enumerate(spec.get("clusterIPs") or ()):
            family = networks.family(ip)
            if index < len(families):
                continue
            if family in self.ips.families:
                families.append(family)
            else:
                why = f"{family} is not configured on this cluster"
                yield invalid_value(f"spec.clusterIPs[{index}]", spec["clusterIPs"], why)

    def _unknown_families(self, policy: str, families: list[str]) -> Iterator[FieldError]:
        if policy == "RequireDualStack" and len(self.ips.families) < 2:
            why = "this cluster is not configured for dual-stack services"
            yield invalid_value("spec.ipFamilyPolicy", policy, why)
        for index, family in enumerate(families):
            if family not in self.ips.families:
                yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")

    async def begin(self, new: Object | None, old: Object | None, dry_run: bool) -> Transaction | None:
        if new is None:
            return None
        taken = _Taken(self.ips, self.ports, dry_run=dry_run)
        try:
            await self._addresses(new, old, taken)
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
        if new is None and old is not None:
            await service_endpoints.follow(self.ports.registry, old)

    async def _addresses(self, new: Object, old: Object | None, taken: _Taken) -> None:
        """One address for each family that has none: all of a new Service, the second of one that becomes dual."""
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            return
        ips = list(spec.get("clusterIPs") or ())
        if not ips and spec.get("clusterIP"):
            ips = [spec["clusterIP"]]
        if ips[:1] == ["None"]:
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        families, kept = spec.get("ipFamilies") or [self.ips.families[0]], held(old)
        ips += [""] * (len(families) - len(ips))
        for index, (family, wanted) in enumerate(zip(families, list(ips), strict=False)):
            if wanted and canonical(wanted) in kept:
                continue
            try:
                got = await self.ips.take(new, family, wanted, dry_run=taken.dry_run)
            except Refused as refused:
                why = f"failed to allocate IP {wanted}: {refused}"
                self._refuse(new, [invalid_value("spec.clusterIPs", ips, why)])
            else:
                taken.new_ips.append(canonical(got))
                ips[index] = got
        spec["clusterIP"], spec["clusterIPs"] = ips[0], ips

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


def _goes_on_as_it_is(spec: Object, before: Object) -> bool:
    """Whether a Service that prefers two families keeps what it has: the cluster's ranges may have changed since, and
    only who changes the Service gains or loses a family by that."""
    return (
        spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == "PreferDualStack"
        and all(spec.get(field) == before.get(field) for field in ("type", "clusterIPs", "ipFamilies"))
        and bool(before.get("ipFamilies"))
    )


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
        if policy != "SingleStack" and now and len(now) < len(then):
            why = f"must be 'SingleStack' to release the secondary {what}"
            yield invalid_value("spec.ipFamilyPolicy", policy, why)
