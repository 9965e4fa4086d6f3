"""Rules of resource names and amounts: ``resources`` of containers and pods, overhead, capacities, quotas."""

from __future__ import annotations

from collections.abc import Container, Mapping

from sublet.kinds.rules.common import NOT_NEGATIVE, Errors, named
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, field_not_found, invalid, required

_STANDARD = frozenset(("cpu", "memory", "ephemeral-storage"))
_COUNTED = frozenset(
    (
        "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
_ZERO = quantity.Quantity(0)


def is_hugepages(name: str) -> bool:
    return name.startswith("hugepages-")


def is_extended(name: str) -> bool:
    """A resource that is not Kubernetes' own, such as a device plug-in's."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def not_negative(path: str, amount: str) -> Errors:
    if quantity.parse(amount) < _ZERO:
        yield invalid(path, amount, NOT_NEGATIVE)


def positive(path: str, amount: str) -> Errors:
    if quantity.parse(amount) <= _ZERO:
        yield invalid(path, amount, "must be greater than zero")


def container_resource_name(path: str, name: str) -> Errors:
    """A name that containers may ask for."""
    wrong = list(named(path, name, names.qualified_name))
    yield from wrong
    if not wrong and "/" not in name and name not in _STANDARD and not is_hugepages(name):
        yield invalid(path, name, "must be a standard resource for containers")


def amount(path: str, name: str, value: str) -> Errors:
    """Not negative; whole where parts make no sense."""
    yield from not_negative(path, value)
    if (is_extended(name) or name in _COUNTED or name.startswith("count/")) and (
        quantity.parse(value).milli() % 1000
    ):
        yield invalid(path, value, "must be an integer")


def requirements(path: str, found: Object | None, claims: Container[str] = ()) -> Errors:
    """``resources`` of a container; ``claims`` names the pod's resource claims."""
    if not found:
        return
    limits: Mapping[str, str] = found.get("limits") or {}
    requests: Mapping[str, str] = found.get("requests") or {}
    for name, value in limits.items():
        yield from container_resource_name(f"{path}.limits[{name}]", name)
        yield from amount(f"{path}.limits[{name}]", name, value)
    for name, value in requests.items():
        yield from container_resource_name(f"{path}.requests[{name}]", name)
        yield from amount(f"{path}.requests[{name}]", name, value)
        yield from _within_limit(path, name, value, limits)
    asked = {*limits, *requests}
    if any(map(is_hugepages, asked)) and not asked & {"cpu", "memory"}:
        yield field_forbidden(path, "HugePages require cpu or memory")
    yield from _claims(f"{path}.claims", found, claims)


def _within_limit(path: str, name: str, value: str, limits: Mapping[str, str]) -> Errors:
    limit = limits.get(name)
    exact = is_hugepages(name) or is_extended(name)
    if limit is None:
        if exact:
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
    elif exact and quantity.parse(value) != quantity.parse(limit):
        yield invalid(f"{path}.requests", value, f"must be equal to {name} limit of {limit}")
    elif quantity.parse(value) > quantity.parse(limit):
        yield invalid(f"{path}.requests", value, f"must be less than or equal to {name} limit of {limit}")


def _claims(path: str, found: Object, known: Container[str]) -> Errors:
    seen = set()
    for index, claim in enumerate(found.get("claims") or ()):
        where = f"{path}[{index}]"
        name = claim.get("name") or ""
        if not name:
            yield required(f"{where}.name")
        elif (name, claim.get("request")) in seen:
            yield duplicate(where, claim)
        elif name not in known:
            yield field_not_found(where, name)
        seen.add((name, claim.get("request")))
