"""Turns a pod's priority class into its priority; there is one default class."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden

_GROUP = "scheduling.k8s.io"


def _handles(attributes: Attributes) -> bool:
    if attributes.subresource:
        return False
    if attributes.target == ("", "pods"):
        return attributes.operation in (CREATE, UPDATE)
    return attributes.target == (_GROUP, "priorityclasses") and attributes.operation in (CREATE, UPDATE)


async def _admit(attributes: Attributes, context: Context) -> None:
    if attributes.plural != "pods":
        return
    pod = attributes.new()
    spec = pod.setdefault("spec", {})
    if attributes.operation == UPDATE:
        # Old clients leave out what they do not know; the values cannot change anyway.
        before = attributes.old()["spec"]
        for key in ("priority", "preemptionPolicy"):
            if spec.get(key) is None and before.get(key) is not None:
                spec[key] = before[key]
        return
    found = await _class_of(attributes, context, spec.get("priorityClassName") or "")
    value = int(found.get("value") or 0) if found else 0
    if found and not spec.get("priorityClassName"):
        spec["priorityClassName"] = objects.name(found)
    policy = (found or {}).get("preemptionPolicy") or "PreemptLowerPriority"
    if spec.get("priority") is not None and spec["priority"] != value:
        raise _refused(
            attributes,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {value} from the given PriorityClass name",
        )
    if spec.get("preemptionPolicy") is not None and spec["preemptionPolicy"] != policy:
        raise _refused(
            attributes,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name",
        )
    spec["priority"], spec["preemptionPolicy"] = value, policy
    attributes.mutated = True


async def _class_of(attributes: Attributes, context: Context, name: str) -> Object | None:
    if name:
        found = await context.reader.get(_GROUP, "priorityclasses", "", name)
        if found is None:
            found = await context.reader.get_latest(_GROUP, "priorityclasses", "", name)
        if found is None:
            raise _refused(attributes, f"no PriorityClass with name {name} was found")
        return found
    defaults = [c for c in await context.reader.list(_GROUP, "priorityclasses") if c.get("globalDefault")]
    return min(defaults, key=lambda c: int(c.get("value") or 0)) if defaults else None


async def _validate(attributes: Attributes, context: Context) -> None:
    if attributes.plural != "priorityclasses":
        return
    new = attributes.new()
    if not new.get("globalDefault"):
        return
    for other in await context.reader.list(_GROUP, "priorityclasses"):
        if other.get("globalDefault") and objects.name(other) != attributes.name:
            raise forbidden(
                _GROUP, "priorityclasses", attributes.name,
                f"PriorityClass {objects.name(other)} is already marked as default. Only one default can exist",
            )  # fmt: skip


def _refused(attributes: Attributes, why: str) -> Exception:
    return forbidden("", "pods", attributes.name, why)


PLUGIN = Plugin("Priority", _handles, admit=_admit, validate=_validate)
