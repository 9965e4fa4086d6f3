"""What the subresources that write the whole object may change of it (reference B.13), besides ``/status``.

Each rule is (prepare, validate): ``prepare(new, old)`` restores in place everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.kinds.certificates import certificatesigningrequests
from sublet.kinds.core import namespaces
from sublet.kinds.rules import gotypes, pod_resize, pod_spec
from sublet.kinds.rules.pod_annotations import MIRROR
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, field_forbidden

Prepare = Callable[[Object, Object], None]
Validate = Callable[[Object, Object], Sequence[FieldError]]


def _only(new: Object, old: Object, **parts: Any) -> None:
    """Makes ``new`` the old object with these top-level parts, and its own metadata restored."""
    metadata = new["metadata"]
    kept = dict(old["metadata"])
    if "managedFields" in metadata:
        kept["managedFields"] = metadata["managedFields"]
    new.clear()
    new.update(old)
    new["metadata"] = kept
    new.update(parts)


# -- namespaces/finalize --


def _finalize(new: Object, old: Object) -> None:
    finalizers = list((new.get("spec") or {}).get("finalizers") or ())
    spec = {k: v for k, v in (old.get("spec") or {}).items() if k != "finalizers"}
    if finalizers:
        spec["finalizers"] = finalizers
    _only(new, old, spec=spec)


def _validate_finalize(new: Object, _old: Object) -> Sequence[FieldError]:
    found = (new.get("spec") or {}).get("finalizers") or ()
    return [
        error
        for index, finalizer in enumerate(found)
        for error in namespaces.finalizer_rules(f"spec.finalizers[{index}]", finalizer)
    ]


# -- certificatesigningrequests/approval --


def _approval(new: Object, old: Object) -> None:
    conditions = (new.get("status") or {}).get("conditions")
    status = {key: value for key, value in (old.get("status") or {}).items() if key != "conditions"}
    if conditions:
        status["conditions"] = conditions
    _only(new, old, status=status, metadata=new["metadata"])


# -- pods/ephemeralcontainers --


def _ephemeral(new: Object, old: Object) -> None:
    containers = (new.get("spec") or {}).get("ephemeralContainers") or []
    spec = {key: value for key, value in old["spec"].items() if key != "ephemeralContainers"}
    if containers:
        spec["ephemeralContainers"] = containers
    _only(new, old, spec=spec)


def _is_static(pod: Object) -> bool:
    """A node's own pod, whose object is only told of."""
    return MIRROR in ((pod.get("metadata") or {}).get("annotations") or {})


def _validate_ephemeral(new: Object, old: Object) -> Sequence[FieldError]:
    """What is there stays; the whole pod is judged as ever."""
    if _is_static(old):
        return [field_forbidden("", "static pods do not support ephemeral containers")]
    path = "spec.ephemeralContainers"
    errors = list(pod_spec.whole_pod(new, old))
    after = {c.get("name"): c for c in new["spec"].get("ephemeralContainers") or ()}
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in after:
            detail = f'existing ephemeral containers "{name}" may not be removed\n'
            errors.append(field_forbidden(path, detail))
        elif after[name] != container:
            changed = gotypes.difference("EphemeralContainer", container, after[name])
            detail = f'existing ephemeral containers "{name}" may not be changed\n{changed}'
            errors.append(field_forbidden(path, detail))
    return errors


# -- pods/resize --


def _resize(new: Object, old: Object) -> None:
    spec = pod_resize.prepare(new, old)
    if spec is not None:
        _only(new, old, spec=spec)


def _validate_resize(new: Object, old: Object) -> Sequence[FieldError]:
    return list(pod_resize.rules(new, old))


RULES: Mapping[str, tuple[Prepare, Validate]] = {
    "finalize": (_finalize, _validate_finalize),
    "approval": (_approval, certificatesigningrequests.validate_approval),
    "ephemeralcontainers": (_ephemeral, _validate_ephemeral),
    "resize": (_resize, _validate_resize),
}
"""Subresource -> its rules; ``/status`` has the kind's own."""
