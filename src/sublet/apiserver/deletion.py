"""What a DELETE does to an object before it goes (reference B.10): preconditions, grace, finalizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from sublet.apiserver import crd_status
from sublet.machinery import objects
from sublet.machinery.kind import Kind, Object

_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_STORAGE, _DEVICES = "storage.k8s.io", "resource.k8s.io"
RETURNED = frozenset((
    "pods", "services", "serviceaccounts", "persistentvolumeclaims", "persistentvolumes", "podtemplates",
    "resourcequotas", f"storageclasses.{_STORAGE}", f"csidrivers.{_STORAGE}", f"csinodes.{_STORAGE}",
    f"volumeattachments.{_STORAGE}", f"volumeattributesclasses.{_STORAGE}", f"deviceclasses.{_DEVICES}",
    f"devicetaintrules.{_DEVICES}", f"resourceclaims.{_DEVICES}", f"resourceclaimtemplates.{_DEVICES}",
    f"resourcepoolstatusrequests.{_DEVICES}", f"resourceslices.{_DEVICES}",
))  # fmt: skip
"""Kinds whose deletion answers the object even when it is gone, as their OpenAPI operations say."""
_ADDS = {"Orphan": ORPHAN, "Foreground": FOREGROUND}


class DeleteOptions(Struct, frozen=True):
    """A checked DeleteOptions; ``propagation`` is ``Orphan``, ``Background``, ``Foreground`` or ``""`` (the kind's)."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    orphan: bool | None = None
    """The deprecated ``orphanDependents``, which ``propagation`` follows."""

    def body(self) -> dict[str, Any]:
        """As an options object, for admission."""
        found: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.grace is not None:
            found["gracePeriodSeconds"] = self.grace
        preconditions = {"uid": self.uid, "resourceVersion": self.resource_version}
        if kept := {key: value for key, value in preconditions.items() if value}:
            found["preconditions"] = kept
        if self.orphan is not None:
            found["orphanDependents"] = self.orphan
        elif self.propagation:
            found["propagationPolicy"] = self.propagation
        if self.dry_run:
            found["dryRun"] = ["All"]
        return found


def warn(kind: Kind, options: DeleteOptions, warnings: list[str]) -> None:
    """Tells who leaves open what becomes of the dependents, where that may not be what they expect."""
    if kind.delete_warning and not options.propagation:
        warnings.append(kind.delete_warning)


def holds(kind: Kind, obj: Object) -> bool:
    """Whether something still keeps a deleted object: finalizers, a namespace's content, a pod's grace period."""
    if objects.finalizers(obj):
        return True
    if _is_namespace(kind) and not _emptied(obj):
        return True
    return bool(obj["metadata"].get("deletionGracePeriodSeconds"))


def finalizers_for(obj: Object, kind: Kind, propagation: str) -> list[str]:
    """The object's finalizers once it is deleted with this policy."""
    present = objects.finalizers(obj)
    if kind.default_propagation == "Unsupported":
        propagation = "Background"
    if not propagation:
        if ORPHAN in present or FOREGROUND in present:
            return list(present)
        propagation = kind.default_propagation
    kept = [f for f in present if f not in (ORPHAN, FOREGROUND)]
    added = _ADDS.get(propagation)
    wanted = [*kept, added] if added else kept
    return list(present) if set(wanted) == set(present) else wanted


def grace_for(obj: Object, kind: Kind, options: DeleteOptions) -> int:
    """Seconds between now and the removal."""
    if kind.grace is None:
        return 0
    return kind.grace(obj, options.grace)


def mark(obj: Object, kind: Kind, options: DeleteOptions, now: float) -> bool:
    """Makes the object a deleted one, in place. Returns whether it may be removed at once."""
    metadata = obj["metadata"]
    if _is_namespace(kind) and not (metadata.get("deletionTimestamp") and _emptied(obj)):
        _terminate(obj, kind, options, now)
        return False
    pending = 0 if kind.grace is None else int(metadata.get("deletionGracePeriodSeconds") or 0)
    asked = pending if options.grace is None else 1 if options.grace < 0 else options.grace
    if pending and asked >= pending:
        return False
    finalizers = _set_finalizers(obj, kind, options.propagation)
    if pending:
        _shorten(metadata, pending, asked, now)
    elif not metadata.get("deletionTimestamp"):
        grace = grace_for(obj, kind, options)
        metadata["deletionTimestamp"] = objects.rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if kind.grace is None:
            # Only kinds with a graceful rule show a period other than zero, but all of them show one.
            metadata["deletionGracePeriodSeconds"] = 0
        if int(metadata.get("generation") or 0) > 0:
            metadata["generation"] += 1
        if kind.resource.qualified == _DEFINITIONS:
            _keep_for_its_objects(obj, finalizers, now)
    return not holds(kind, obj)


def _terminate(namespace: Object, kind: Kind, options: DeleteOptions, now: float) -> None:
    """Begins a namespace's end, which has no period of grace; one that has begun is left as it is."""
    if namespace["metadata"].get("deletionTimestamp"):
        return
    namespace["metadata"]["deletionTimestamp"] = objects.rfc3339(now)
    namespace["status"] = {**(namespace.get("status") or {}), "phase": "Terminating"}
    # Of namespaces alone the deprecated flag stands for the foreground.
    propagation = "Foreground" if options.orphan is False else options.propagation
    if propagation:
        _set_finalizers(namespace, kind, propagation)


def _set_finalizers(obj: Object, kind: Kind, propagation: str) -> list[str]:
    finalizers = finalizers_for(obj, kind, propagation)
    if finalizers:
        obj["metadata"]["finalizers"] = finalizers
    else:
        obj["metadata"].pop("finalizers", None)
    return finalizers


def _keep_for_its_objects(crd: Object, finalizers: Sequence[str], now: float) -> None:
    """The objects of a definition go first; whoever serves them takes the finalizer away."""
    metadata = crd["metadata"]
    del metadata["deletionGracePeriodSeconds"]
    metadata["generation"] -= 1
    if CLEANUP not in finalizers:
        metadata["finalizers"] = [*finalizers, CLEANUP]
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    told = ("Terminating", "True", "InstanceDeletionPending", message)
    crd_status.set_condition(crd, *told, objects.rfc3339(now))


def _shorten(metadata: dict[str, Any], pending: int, grace: int, now: float) -> None:
    """Brings the end of a graceful deletion that has begun nearer, but not into the past."""
    ends = objects.parse_time(metadata["deletionTimestamp"]) - pending + grace
    if ends < now:
        ends, grace = now, min(grace, 1)
    metadata["deletionTimestamp"] = objects.rfc3339(ends)
    metadata["deletionGracePeriodSeconds"] = grace


def completed_by(new: Object, kind: Kind) -> bool:
    """Whether an update has taken away the last thing that kept a deleted object."""
    return objects.is_deleting(new) and not holds(kind, new)


def success(kind: Kind, obj: Object) -> Mapping[str, Any]:
    """The Status that answers a DELETE whose object is gone."""
    resource = kind.resource
    details = {"name": objects.name(obj), "kind": resource.plural, "uid": objects.uid(obj)}
    if resource.group:
        details = {"name": objects.name(obj), "group": resource.group, **details}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def _emptied(namespace: Object) -> bool:
    """Whether nothing is left in a namespace that somebody removes."""
    return not (namespace.get("spec") or {}).get("finalizers")


def _is_namespace(kind: Kind) -> bool:
    return kind.resource.group == "" and kind.resource.plural == "namespaces"
