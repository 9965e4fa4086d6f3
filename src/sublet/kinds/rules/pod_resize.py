"""What ``/resize`` may change of a pod: amounts of processor time and memory, of containers and of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules import gotypes, pod_spec
from sublet.kinds.rules.common import Errors
from sublet.kinds.rules.pod_annotations import MIRROR
from sublet.machinery import usage
from sublet.machinery.codec import decode_json, encode_json
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid

_RESIZABLE = ("cpu", "memory")
_LISTS = ("initContainers", "containers")
_ONLY = "only cpu and memory resources"


def prepare(new: Object, old: Object) -> Object | None:
    """The spec that ``/resize`` means; None: containers came or went, which is the rules' to refuse."""
    spec, before = new.get("spec") or {}, old["spec"]
    if any(len(spec.get(key) or ()) != len(before.get(key) or ()) for key in _LISTS):
        return None
    result: Object = dict(before)
    for key in _LISTS:
        if key in before:
            result[key] = _resized(spec[key], before[key])
    if "resources" in spec:
        result["resources"] = spec["resources"]
    else:
        result.pop("resources", None)
    return result


def _resized(now: Sequence[Object], then: Sequence[Object]) -> Sequence[Object]:
    """The old containers with what the new ones ask for; the new ones where names differ."""
    if any(mine.get("name") != theirs.get("name") for mine, theirs in zip(now, then, strict=True)):
        return now
    changed = []
    for mine, theirs in zip(now, then, strict=True):
        kept = {key: value for key, value in theirs.items() if key not in ("resources", "resizePolicy")}
        changed.append(kept | {key: mine[key] for key in ("resources", "resizePolicy") if key in mine})
    return changed


def rules(new: Object, old: Object) -> Errors:
    """Everything that is wrong with a resized pod, besides its metadata."""
    spec, before = new["spec"], old["spec"]
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or {}):
        yield field_forbidden("", "static pods cannot be resized")
        return
    if (before.get("os") or {}).get("name") == "windows":
        yield field_forbidden("", "windows pods cannot be resized")
        return
    wrong = list(pod_spec.whole_pod(new, old))
    qos = (old.get("status") or {}).get("qosClass") or usage.qos_class(old)
    if usage.qos_class(new) != qos:
        shown = (new.get("status") or {}).get("qosClass") or ""
        wrong.append(invalid("spec", shown, "Pod QOS Class may not change as a result of resizing"))
    if not _node_resizes(old):
        wrong.append(field_forbidden("spec", "Pod running on node without support for resize"))
    wrong += _whole(spec.get("resources"), before.get("resources"))
    moved = list(_order(spec, before))
    yield from [*wrong, *moved]
    if moved:
        return
    changed = [*_removed(spec, before), *_others(spec, before)]
    yield from changed
    if not wrong and not changed and (masked := _masked(spec, before)) != before:
        shown = gotypes.difference("PodSpec", masked, before)
        yield field_forbidden("spec", f"{_ONLY} are mutable\n{shown}")


def _node_resizes(old: Object) -> bool:
    """A node that can resize tells what running containers have; while none runs nobody knows."""
    for container in (old.get("status") or {}).get("containerStatuses") or ():
        if (container.get("state") or {}).get("running") is not None:
            return container.get("resources") is not None
    return True


def _whole(now: Object | None, then: Object | None) -> Errors:
    """What the pod asks for as a whole."""
    if then is not None and now is None:
        yield field_forbidden("spec.resources", "pod-level resources cannot be removed")
        return
    for field in ("requests", "limits"):
        if then is not None and _lacks(now, then, field):
            detail = f"pod-level resource {field} cannot be removed"
            yield field_forbidden(f"spec.resources.{field}", detail)
    if _without_amounts(now) != _without_amounts(then):
        yield field_forbidden("spec", f"{_ONLY} are mutable at pod-level")


def _lacks(now: Object | None, then: Object | None, field: str) -> bool:
    return not set((then or {}).get(field) or ()) <= set((now or {}).get(field) or ())


def _without_amounts(resources: Object | None) -> Object:
    """Resources but for the amounts that may change; what is empty then is left out."""
    found: Object = {}
    for field, value in (resources or {}).items():
        if field in ("requests", "limits"):
            value = {name: amount for name, amount in value.items() if name not in _RESIZABLE}
        if value:
            found[field] = value
    return found


def _order(spec: Object, before: Object) -> Errors:
    for key in ("containers", "initContainers"):
        now, then = spec.get(key) or (), before.get(key) or ()
        if len(now) != len(then):
            yield field_forbidden(f"spec.{key}", f"{key} may not be added or removed on resize")
            continue
        for index, (mine, theirs) in enumerate(zip(now, then, strict=True)):
            if mine.get("name") != theirs.get("name"):
                detail = f"{key} may not be renamed or reordered on resize"
                yield field_forbidden(f"spec.{key}[{index}].name", detail)


def _removed(spec: Object, before: Object) -> Errors:
    for key in _LISTS:
        for index, (now, then) in enumerate(zip(spec.get(key) or (), before.get(key) or (), strict=True)):
            for field in ("requests", "limits"):
                if _lacks(now.get("resources"), then.get("resources"), field):
                    where = f"spec.{key}[{index}].resources.{field}"
                    yield field_forbidden(where, f"resource {field} cannot be removed")


def _others(spec: Object, before: Object) -> Errors:
    """What else of a container changed."""
    for now, then in zip(spec.get("containers") or (), before.get("containers") or (), strict=True):
        if _bare(now) != _bare(then):
            yield field_forbidden("spec", f"{_ONLY} are mutable")
    pairs = zip(spec.get("initContainers") or (), before.get("initContainers") or (), strict=True)
    for index, (now, then) in enumerate(pairs):
        where = f"spec.initContainers[{index}]"
        if _bare(now) != _bare(then):
            yield field_forbidden(where, f"{_ONLY} for init or sidecar containers are mutable")
        if now != then and now.get("restartPolicy") != "Always":
            for policy in now.get("resizePolicy") or ():
                if policy.get("restartPolicy") == "RestartContainer":
                    detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
                    yield field_forbidden(where, detail)


def _bare(container: Object) -> Object:
    """A container but for the amounts that may change; its claims are not compared."""
    resources = _without_amounts(container.get("resources"))
    resources.pop("claims", None)
    return {**container, "resources": resources}


def _masked(spec: Object, before: Object) -> Object:
    """The new spec with everything put back that was compared already."""
    masked: Object = decode_json(encode_json(spec))
    for key in (*_LISTS, "resources"):
        if key in before:
            masked[key] = before[key]
        else:
            masked.pop(key, None)
    return masked
