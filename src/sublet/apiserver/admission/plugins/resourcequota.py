"""Nothing is created beyond a namespace's quotas; what is admitted is added to their status by compare-and-swap.

Usage in a quota's status only grows here. Before a refusal the objects there are get counted anew, so what has been
deleted is free again even where no controller recounts.
"""

from __future__ import annotations

from sublet.apiserver.admission import quota
from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.apiserver.admission.quota import Amounts
from sublet.machinery import objects, usage
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity, from_value
from sublet.machinery.status import Forbidden, forbidden

_UPDATES = frozenset(("services", "persistentvolumeclaims"))
_COMPUTE = ("cpu", "memory")
_NONE = from_value(0)


def _handles(attributes: Attributes) -> bool:
    if not attributes.namespace or attributes.target == ("", "namespaces"):
        return False
    if attributes.operation == CREATE:
        return not attributes.subresource
    resized = attributes.target == ("", "pods") and attributes.subresource == "resize"
    grown = not attributes.group and attributes.plural in _UPDATES and not attributes.subresource
    return attributes.operation == UPDATE and (resized or grown)


async def _validate(attributes: Attributes, context: Context) -> None:
    quotas = await context.reader.list("", "resourcequotas", attributes.namespace)
    if not quotas:
        return
    obj = attributes.new()
    for each in quotas:
        names = quota.tracked(attributes.group, attributes.plural, (each.get("spec") or {}).get("hard") or ())
        if not names or not quota.in_scope(each, attributes.plural, obj):
            continue
        _must_specify(attributes, each, names, obj)
        delta = _delta(attributes, names, obj)
        if delta:
            await _charge(attributes, context, each, names, delta)


def _delta(attributes: Attributes, names: list[str], obj: Object) -> Amounts:
    after = quota.of_object(attributes.group, attributes.plural, obj)
    before: Amounts = {}
    if attributes.old_object is not None:
        before = quota.of_object(attributes.group, attributes.plural, attributes.old_object)
    found = {name: after.get(name, _NONE) - before.get(name, _NONE) for name in names}
    return {name: amount for name, amount in found.items() if amount > _NONE}


def _must_specify(attributes: Attributes, each: Object, names: list[str], pod: Object) -> None:
    """A quota on cpu or memory needs every container to say what it takes."""
    if attributes.plural != "pods" or attributes.group:
        return
    missing: dict[str, list[str]] = {}
    spec = pod.get("spec") or {}
    for name in names:
        part, resource = _wanted(name)
        if resource not in _COMPUTE or resource in ((spec.get("resources") or {}).get(part) or {}):
            continue
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            if resource not in ((container.get("resources") or {}).get(part) or {}):
                missing.setdefault(name, []).append(str(container.get("name")))
    if missing:
        listed = "; ".join(f"{name} for: {','.join(missing[name])}" for name in sorted(missing))
        raise _refused(attributes, f"failed quota: {objects.name(each)}: must specify {listed}")


def _wanted(name: str) -> tuple[str, str]:
    if name.startswith("limits."):
        return "limits", name[len("limits.") :]
    return "requests", name.removeprefix("requests.")


async def _charge(
    attributes: Attributes, context: Context, each: Object, names: list[str], delta: Amounts
) -> None:
    """Adds ``delta`` to the quota's usage. Raises ``Forbidden`` when that is more than it grants."""
    now = context.clock.now()
    place = (attributes.group, attributes.plural, attributes.namespace, attributes.name)
    counted = await _count(attributes, context, each, names, now) if _unknown(each, names) else None
    if not attributes.dry_run:
        # Before the write: whoever counts between it and the object's own must see this.
        context.promises.make(place, delta, now)
        attributes.settled.append(lambda: context.promises.drop(place))
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
            if exceeded or attributes.dry_run:
                return False
            obj["status"] = {"hard": usage.canonical(hard), "used": usage.canonical(used)}
            return True

        await context.reader.update("", "resourcequotas", attributes.namespace, objects.name(each), edit)
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
