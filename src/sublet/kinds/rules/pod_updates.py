"""What a client may change in the spec of a pod that exists (reference E.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sublet.kinds.rules import gotypes, placement, pod_annotations, pod_before, pod_spec
from sublet.kinds.rules.common import MAX_INT32, Errors
from sublet.kinds.rules.containers import image_blanks
from sublet.kinds.rules.pod_allowances import Allowances
from sublet.machinery.codec import decode_json, encode_json
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, required

_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED_RULE = "requiredDuringSchedulingIgnoredDuringExecution"


def update(new: Object, old: Object) -> Errors:
    """Everything that is wrong with a changed pod, besides its metadata."""
    allowed = pod_before.allowances(old)
    yield from pod_spec.whole_pod(new, old)
    metadata, was = new.get("metadata") or {}, old.get("metadata") or {}
    found: Mapping[str, str] = metadata.get("annotations") or {}
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    yield from pod_annotations.changed(found, was.get("annotations") or {})
    yield from pod_annotations.meaningful("metadata.annotations", found, spec, allowed)
    errors = list(_containers(spec, before))
    yield from errors
    if any(error.field in ("spec.containers", "spec.initContainers") for error in errors):
        return
    errors = list(_deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")))
    yield from errors
    if errors and spec.get("activeDeadlineSeconds") is not None:
        return
    yield from _tolerations(spec.get("tolerations") or (), before.get("tolerations") or (), allowed)
    yield from _gates(spec.get("schedulingGates") or (), before.get("schedulingGates") or ())
    yield from _rest(spec, before)


def _containers(spec: Object, before: Object) -> Errors:
    for key in ("containers", "initContainers"):
        now = spec.get(key) or ()
        if len(now) != len(before.get(key) or ()):
            yield field_forbidden(f"spec.{key}", "pod updates may not add or remove containers")
            return
        for index, container in enumerate(now):
            where = f"spec.{key}[{index}]"
            if not container.get("image"):
                yield required(f"{where}.image")
            yield from image_blanks(where, container)


def _deadline(new: int | None, old: int | None) -> Errors:
    where = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            yield invalid(where, None, "must not update from a positive integer to nil value")
    elif not 0 <= new <= MAX_INT32:
        yield invalid(where, new, f"must be between 0 and {MAX_INT32}, inclusive")
    elif old is not None and new > old:
        yield invalid(where, new, "must be less than or equal to previous value")


def _without_seconds(toleration: Object) -> Object:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _tolerations(new: Sequence[Object], old: Sequence[Object], allowed: Allowances) -> Errors:
    kept = [_without_seconds(toleration) for toleration in new]
    if any(_without_seconds(toleration) not in kept for toleration in old):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        yield field_forbidden("spec.tolerations", detail)
    else:
        yield from placement.tolerations("spec.tolerations", new, allowed)


def _gates(new: Sequence[Object], old: Sequence[Object]) -> Errors:
    known = {gate.get("name") for gate in old}
    for index, gate in enumerate(new):
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield field_forbidden(f"spec.schedulingGates[{index}].name", detail)


def _rest(spec: Object, before: Object) -> Errors:
    """All other fields stay; a pod that is gated may be told more closely where to go."""
    if spec == before:
        return
    comparable = _with_allowed_changes(spec, before)
    if before.get("schedulingGates"):
        yield from _node_selector(comparable, before)
        yield from _affinity(comparable, before)
    if comparable != before:
        changed = gotypes.difference("PodSpec", comparable, before)
        yield field_forbidden("spec", f"{_MAY_CHANGE}\n{changed}")


def _with_allowed_changes(spec: Object, before: Object) -> Object:
    """The new spec with everything that may change put back."""
    result: Object = decode_json(encode_json(spec))
    for key in ("containers", "initContainers"):
        for container, then in zip(result.get(key) or (), before.get(key) or (), strict=False):
            _put_back(container, then, "image")
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _put_back(result, before, key)
    old_grace = before.get("terminationGracePeriodSeconds")
    if old_grace is not None and old_grace < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        result["terminationGracePeriodSeconds"] = old_grace
    return result


def _put_back(spec: Object, before: Object, key: str) -> None:
    if key in before:
        spec[key] = before[key]
    else:
        spec.pop(key, None)


def _node_selector(comparable: Object, before: Object) -> Errors:
    now, then = comparable.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(now.get(key) != value for key, value in then.items()):
        detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield invalid("spec.nodeSelector", dict(sorted(now.items())), detail)
    _put_back(comparable, before, "nodeSelector")


def _affinity(comparable: Object, before: Object) -> Errors:
    now, then = comparable.get("affinity") or {}, before.get("affinity") or {}
    mine, theirs = now.get("nodeAffinity"), then.get("nodeAffinity")
    if mine == theirs:
        return
    yield from _terms(_selector_terms(mine), _selector_terms(theirs))
    restored = {key: value for key, value in now.items() if key != "nodeAffinity"}
    if theirs is not None:
        restored["nodeAffinity"] = theirs
    if restored or "affinity" in before:
        comparable["affinity"] = restored
    else:
        comparable.pop("affinity", None)


def _selector_terms(affinity: Object | None) -> list[Object]:
    return ((affinity or {}).get(_REQUIRED_RULE) or {}).get("nodeSelectorTerms") or []


def _terms(new: Sequence[Object], old: Sequence[Object]) -> Errors:
    """Terms are alternatives: none may come or go, each may only become narrower."""
    where = f"spec.affinity.nodeAffinity.{_REQUIRED_RULE}.nodeSelectorTerms"
    if not old:
        return
    if len(new) != len(old):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid(where, [_shown(term) for term in new], detail)
        return
    for index, (now, then) in enumerate(zip(new, old, strict=True)):
        if not _narrower(now, then):
            detail = "only additions are allowed (no mutations or deletions)"
            yield invalid(f"{where}[{index}]", _shown(now), detail)


def _shown(term: Object) -> Object:
    return gotypes.shown("NodeSelectorTerm", term)


def _narrower(now: Object, then: Object) -> bool:
    parts = ("matchExpressions", "matchFields")
    if not any(then.get(part) for part in parts) and any(now.get(part) for part in parts):
        return False
    return all((now.get(part) or [])[: len(then.get(part) or ())] == (then.get(part) or []) for part in parts)
