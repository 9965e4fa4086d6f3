"""Rules of resource names and amounts: ``resources`` of containers and pods, overhead, capacities, quotas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sublet.kinds.rules.common import NOT_NEGATIVE, Errors, named
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    FieldError,
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
)

_OF_CONTAINERS = frozenset(("cpu", "memory", "ephemeral-storage"))
_OF_PODS = ("cpu", "memory")
_COUNTED = frozenset(
    (
        "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
STANDARD = (
    _OF_CONTAINERS
    | _COUNTED
    | {
        f"{side}.{name}"
        for side in ("requests", "limits")
        for name in ("cpu", "memory", "ephemeral-storage", "storage")
    }
    | {"storage"}
) - {"limits.storage"}
"""Names without a domain that mean something somewhere, besides huge pages."""

_ZERO = quantity.Quantity(0)

NameRule = Callable[[str, str], Errors]


def rounded(*lists: Object | None) -> None:
    """Rounds amounts up in place: of what pods, claims, quotas and nodes have, nothing is finer than thousandths."""
    for amounts in lists:
        for name, text in (amounts or {}).items():
            if isinstance(text, str) and (text[-1:] in ("n", "u") or "e-" in text):
                exact = quantity.parse(text)
                amounts[name] = quantity.Quantity(exact.milli() * 10**6, exact.format).canonical()  # type: ignore[index]


def is_hugepages(name: str) -> bool:
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    """A resource of Kubernetes' own."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """A resource that is not Kubernetes' own, such as a device plug-in's."""
    return (
        not is_native(name)
        and not name.startswith("requests.")
        and not names.qualified_name(f"requests.{name}")
    )


def may_overcommit(name: str) -> bool:
    """Whether containers may ask for less than their limit."""
    return is_native(name) and not is_hugepages(name)


def not_negative(path: str, amount: str) -> Errors:
    if quantity.parse(amount) < _ZERO:
        yield invalid(path, amount, NOT_NEGATIVE)


def positive(path: str, amount: str) -> Errors:
    if quantity.parse(amount) <= _ZERO:
        yield invalid(path, amount, "must be greater than zero")


def basic(path: str, amount: str) -> Errors:
    value = quantity.parse(amount).value()
    if value < 0:
        yield invalid(path, value, "must be a valid resource quantity")


def resource_name(path: str, name: str) -> Errors:
    """A name with a domain, or one that Kubernetes knows."""
    wrong = list(named(path, name, names.qualified_name))
    yield from wrong
    known = name in STANDARD or is_hugepages(name.removeprefix("requests."))
    if not wrong and "/" not in name and not known:
        yield invalid(path, name, "must be a standard resource type or fully qualified")


def container_resource_name(path: str, name: str) -> Errors:
    """A name that containers may ask for."""
    yield from resource_name(path, name)
    if "/" not in name:
        if name not in _OF_CONTAINERS and not is_hugepages(name):
            yield invalid(path, name, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        yield invalid(path, name, "doesn't follow extended resource name standard")


def pod_resource_name(path: str, name: str) -> Errors:
    """A name that a pod may ask for as a whole."""
    wrong = list(resource_name(path, name))
    yield from wrong
    if not wrong and name not in _OF_PODS and not is_hugepages(name):
        yield not_supported(path, name, _OF_PODS)


def amount(path: str, name: str, value: str) -> Errors:
    """Not negative; whole where parts make no sense."""
    yield from not_negative(path, value)
    if (name in _COUNTED or is_extended(name)) and quantity.parse(value).milli() % 1000:
        yield invalid(path, value, "must be an integer")


def requirements(
    path: str,
    found: Object | None,
    claims: Collection[str] = (),
    name_rule: NameRule = container_resource_name,
    *,
    even_pages: bool = True,
) -> Errors:
    """``resources`` of a container, or with another ``name_rule`` of a pod; ``claims``: the pod's claims by name."""
    if not found:
        return
    limits: Mapping[str, str] = found.get("limits") or {}
    requests: Mapping[str, str] = found.get("requests") or {}
    for name, value in limits.items():
        where = f"{path}.limits[{name}]"
        yield from name_rule(where, name)
        yield from amount(where, name, value)
        if even_pages:
            yield from _whole_pages(where, name, value)
    for name, value in requests.items():
        where = f"{path}.requests[{name}]"
        yield from name_rule(where, name)
        yield from amount(where, name, value)
        yield from _within_limit(path, name, value, limits)
        if even_pages:
            yield from _whole_pages(where, name, value)
    asked = {*limits, *requests}
    if any(map(is_hugepages, asked)) and not asked & {"cpu", "memory"}:
        yield field_forbidden(path, "HugePages require cpu or memory")
    yield from _claims(f"{path}.claims", found, claims)


def uneven(path: str, found: Object) -> Errors:
    """Amounts of huge pages that are no multiple of a page."""
    for field in ("limits", "requests"):
        for name, value in (found.get(field) or {}).items():
            yield from _whole_pages(f"{path}.{field}[{name}]", name, value)


def _whole_pages(path: str, name: str, value: str) -> Errors:
    if not is_hugepages(name):
        return
    size_text = name.removeprefix("hugepages-")
    size = quantity.parse(size_text).value() if quantity.valid(size_text) else 0
    if size <= 0 or quantity.parse(value).value() % size:
        yield invalid(path, value, f"{value} is not positive integer multiple of {name}")


def _within_limit(path: str, name: str, value: str, limits: Mapping[str, str]) -> Errors:
    limit = limits.get(name)
    if limit is None:
        if not may_overcommit(name):
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
    elif not may_overcommit(name) and quantity.parse(value) != quantity.parse(limit):
        yield invalid(f"{path}.requests", value, f"must be equal to {name} limit of {limit}")
    elif quantity.parse(value) > quantity.parse(limit):
        yield invalid(f"{path}.requests", value, f"must be less than or equal to {name} limit of {limit}")


def _claims(path: str, found: Object, known: Collection[str]) -> Errors:
    """Each claim, or request of a claim, once; a whole claim not beside one of its requests."""
    whole: set[str] = set()
    parts: set[tuple[str, str]] = set()
    for index, claim in enumerate(found.get("claims") or ()):
        where, name, request = f"{path}[{index}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            yield required(where)
            continue
        if name in whole:
            yield duplicate(where, name)
        elif request:
            yield from named(f"{where}.request", request, names.dns1123_label)
            if (name, request) in parts:
                yield duplicate(where, f"{name}/{request}")
            parts.add((name, request))
        else:
            for _ in (part for part in parts if part[0] == name):
                yield duplicate(where, name)
            whole.add(name)
        if name not in known:
            yield _unknown_claim(where, name, known)


def _unknown_claim(path: str, name: str, known: Collection[str]) -> FieldError:
    listed = f": {', '.join(sorted(known))}" if known else " which is empty"
    error = field_not_found(path, name)
    detail = "must be one of the names in pod.spec.resourceClaims"
    return FieldError(error.reason, path, f"{error.body}: {detail}{listed}")
