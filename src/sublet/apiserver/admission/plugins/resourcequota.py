"""Nothing is created beyond a namespace's quotas; what is admitted is added to their status by compare-and-swap.

Usage in a quota's status only grows here. Before a refusal the objects there are get counted anew, so what has been
deleted is free again even where no controller recounts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sublet.apiserver.admission import quota
from sublet.apiserver.admission.configuration import LimitedResource
from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.apiserver.admission.quota import Amounts
from sublet.machinery import objects, usage
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity, from_value
from sublet.machinery.status import Forbidden, StatusError, forbidden

_UPDATES = frozenset(("services", "persistentvolumeclaims"))
_IGNORED = frozenset((
    ("", "bindings"), ("", "events"), ("events.k8s.io", "events"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
))  # fmt: skip
"""What is not stored, or comes and goes too fast to be counted."""
_COMPUTE = ("cpu", "memory")
_NONE = from_value(0)


def _handles(attributes: Attributes) -> bool:
    if not attributes.namespace or attributes.target == ("", "namespaces") or attributes.target in _IGNORED:
        return False
    if attributes.operation == CREATE:
        return not attributes.subresource
    resized = attributes.target == ("", "pods") and attributes.subresource == "resize"
    grown = not attributes.group and attributes.plural in _UPDATES and not attributes.subresource
    return attributes.operation == UPDATE and (resized or grown)


async def _validate(attributes: Attributes, context: Context) -> None:
    quotas = await context.reader.list("", "resourcequotas", attributes.namespace)
    limits = context.configuration.resource_quota.limited_resources
    if not quotas and not limits:
        return
    obj = attributes.new()
    concerned: list[tuple[Object, list[str]]] = []
    for each in quotas:
        names = quota.tracked(attributes.group, attributes.plural, (each.get("spec") or {}).get("hard") or ())
        if names and quota.in_scope(each, attributes.plural, obj):
            _must_specify(attributes, each, names, obj)
            concerned.append((each, names))
    after = quota.of_object(attributes.group, attributes.plural, obj)
    before = _before(attributes)
    if limits and any(amount > before.get(name, _NONE) for name, amount in after.items()):
        _must_be_covered(
            attributes, limits, after, quotas, {name for _, names in concerned for name in names}
        )
    charges = [(each, names, _delta(attributes, each, names, after, before)) for each, names in concerned]
    await _charge_all(attributes, context, [charge for charge in charges if charge[2]])


def _before(attributes: Attributes) -> Amounts:
    """What the object used until now."""
    if attributes.old_object is None:
        return {}
    return quota.of_object(attributes.group, attributes.plural, attributes.old_object)


def _delta(
    attributes: Attributes, each: Object, names: list[str], after: Amounts, before: Amounts
) -> Amounts:
    """What one quota has to give; all of it where the quota did not count the object before."""
    old = attributes.old_object
    if old is not None and not quota.in_scope(each, attributes.plural, old):
        before = {}
    found = {name: after.get(name, _NONE) - before.get(name, _NONE) for name in names}
    return {name: amount for name, amount in found.items() if amount > _NONE}


def _must_be_covered(
    attributes: Attributes, limits: Sequence[LimitedResource], used: Amounts, quotas: Sequence[Object],
    covered: set[str],
) -> None:  # fmt: skip
    """What is limited by default is used only where a quota says how much of it."""
    parts = [
        part
        for each in limits
        if (each.api_group, each.resource) == attributes.target
        for part in each.match_contains
    ]
    limited = {name for name, amount in used.items() if amount > _NONE and any(p in name for p in parts)}
    if missing := sorted(limited - covered):
        raise _refused(attributes, f"insufficient quota to consume: {','.join(missing)}")
    if attributes.group or attributes.plural not in ("pods", "persistentvolumeclaims"):
        return
    stated = [scope.requirement() for each in limits for scope in each.match_scopes]
    obj = attributes.new()
    open_ = [scope for scope in stated if quota.matches_scope(scope, attributes.plural, obj)]
    closed = {
        scope.get("scopeName")
        for each in quotas
        for scope in quota.scopes(each)
        if quota.matches_scope(scope, attributes.plural, obj)
    }
    if uncovered := [scope for scope in open_ if scope["scopeName"] not in closed]:
        listed = " ".join(
            f"{{{scope['scopeName']} {scope['operator']} [{' '.join(scope['values'])}]}}"
            for scope in uncovered
        )
        # Upstream answers this alone with an error that is no Status.
        raise StatusError(f"insufficient quota to match these scopes: [{listed}]", code=500, reason="")


def _must_specify(attributes: Attributes, each: Object, names: list[str], pod: Object) -> None:
    """A quota on cpu or memory needs every container to say what it takes, unless the pod says it."""
    spec = pod.get("spec") or {}
    if attributes.target != ("", "pods") or usage.has_pod_resources(spec):
        return
    missing: dict[str, set[str]] = {}
    for name in names:
        part, resource = _wanted(name)
        if resource not in _COMPUTE:
            continue
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            if resource not in ((container.get("resources") or {}).get(part) or {}):
                missing.setdefault(name, set()).add(str(container.get("name")))
    if missing:
        listed = "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))
        raise _refused(attributes, f"failed quota: {objects.name(each)}: must specify {listed}")


def _wanted(name: str) -> tuple[str, str]:
    if name.startswith("limits."):
        return "limits", name[len("limits.") :]
    return "requests", name.removeprefix("requests.")


async def _charge_all(
    attributes: Attributes, context: Context, charges: Sequence[tuple[Object, list[str], Amounts]]
) -> None:
    """Adds to the usage of every quota, once each of them can give what is asked of it."""
    if len(charges) > 1:
        for each, names, part in charges:
            await _charge(attributes, context, each, names, part)
    place = (attributes.group, attributes.plural, attributes.namespace, attributes.name)
    delta = {name: amount for _, _, part in charges for name, amount in part.items()}

    def promise() -> None:
        context.promises.make(place, delta, context.clock.now())

    attributes.settled.append(lambda: context.promises.drop(place))
    for each, names, part in charges:
        await _charge(attributes, context, each, names, part, None if attributes.dry_run else promise)


async def _charge(
    attributes: Attributes, context: Context, each: Object, names: list[str], delta: Amounts,
    promise: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Adds ``delta`` to the quota's usage, or without a promise looks whether it could.

    Raises ``Forbidden`` when that is more than it grants.
    """
    now = context.clock.now()
    counted = await _count(attributes, context, each, names, now) if _unknown(each, names) else None
    if promise is not None:
        # Before the write: whoever counts between it and the object's own must see this.
        promise()
    for _ in range(2):
        exceeded: dict[str, tuple[Quantity, Quantity, Quantity]] = {}
        known = counted

        def edit(
            obj: Object,
            known: Amounts | None = known,
            exceeded: dict[str, tuple[Quantity, Quantity, Quantity]] = exceeded,
        ) -> bool:
            exceeded.clear()
            hard = usage.amounts((obj.get("spec") or {}).get("hard"))
            used = usage.amounts((obj.get("status") or {}).get("used"))
            used |= known or {}
            for name, amount in delta.items():
                total = used.get(name, _NONE) + amount
                if name in hard and hard[name] < total:
                    exceeded[name] = (amount, used.get(name, _NONE), hard[name])
                used[name] = total
            if exceeded or promise is None:
                return False
            obj["status"] = {"hard": usage.canonical(hard), "used": usage.canonical(used)}
            return True

        await context.reader.update(
            "", "resourcequotas", attributes.namespace, objects.name(each), edit, "status"
        )
        if not exceeded:
            return
        if counted is not None:
            break
        counted = await _count(attributes, context, each, names, now)
    raise _refused(attributes, _exceeded(each, exceeded))


def _unknown(each: Object, names: list[str]) -> bool:
    used = (each.get("status") or {}).get("used") or {}
    return any(name not in used for name in names)


async def _count(
    attributes: Attributes, context: Context, each: Object, names: list[str], now: float
) -> Amounts:
    """What the objects of this kind that there are use, and what is promised."""
    await context.reader.get_latest("", "resourcequotas", attributes.namespace, objects.name(each))
    live = await context.reader.list(attributes.group, attributes.plural, attributes.namespace)
    parts = [
        quota.of_object(attributes.group, attributes.plural, obj)
        for obj in live
        if quota.in_scope(each, attributes.plural, obj)
    ]
    stored = [objects.name(obj) for obj in live]
    there = [*stored, attributes.name]
    parts += context.promises.open(attributes.group, attributes.plural, attributes.namespace, there, now)
    total = usage.total(parts)
    return {name: total.get(name, _NONE) for name in names}


def _exceeded(each: Object, exceeded: dict[str, tuple[Quantity, Quantity, Quantity]]) -> str:
    def shown(position: int) -> str:
        return ",".join(f"{name}={exceeded[name][position].canonical()}" for name in sorted(exceeded))

    return (
        f"exceeded quota: {objects.name(each)}, requested: {shown(0)}, used: {shown(1)}, limited: {shown(2)}"
    )


def _refused(attributes: Attributes, why: str) -> Forbidden:
    return forbidden(attributes.group, attributes.plural, attributes.name, why)


PLUGIN = Plugin("ResourceQuota", _handles, validate=_validate)
