"""Revisions of a Deployment: which ReplicaSet carries the present template, and what is written on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sublet.controllers.deployment import rolling
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile.workloads import creation_key

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
ROLLBACK = "deprecated.deployment.rollback.to"
_HISTORY_LENGTH = 2000
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        rolling.DESIRED,
        rolling.MAX,
        ROLLBACK,
    }
)


def same_template(one: Object, other: Object) -> bool:
    """Whether two pod templates are equal but for the hash label."""
    return _plain(one) == _plain(other)


def _plain(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    metadata.pop("creationTimestamp", None)
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != HASH_LABEL}
    kept = {key: value for key, value in metadata.items() if value}
    return {"labels": labels, "metadata": kept, "spec": template.get("spec") or {}}


def find_new(deployment: Object, replica_sets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet with the present template."""
    for replica_set in sorted(replica_sets, key=creation_key):
        if same_template(replica_set["spec"].get("template") or {}, deployment["spec"]["template"]):
            return replica_set
    return None


def revision(obj: Object) -> int:
    """The revision written on it; 0 where there is none (or no number)."""
    try:
        return int(objects.annotations(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def next_revision(old: Iterable[Object]) -> int:
    return max((revision(replica_set) for replica_set in old), default=0) + 1


def annotations_of(
    deployment: Object, replica_set: Object, new_revision: int, *, exists: bool
) -> dict[str, str]:
    """What the annotations of the new ReplicaSet should be: the Deployment's, its revision and its history."""
    now = dict(objects.annotations(replica_set))
    for key, value in objects.annotations(deployment).items():
        if key not in _NOT_COPIED:
            now[key] = value
    old_revision = revision(replica_set)
    if old_revision < new_revision:
        if REVISION in now and old_revision:
            now[HISTORY] = _history(now.get(HISTORY, ""), str(old_revision))
        now[REVISION] = str(new_revision)
    return now if exists else {**now, **size_annotations(deployment)}


def size_annotations(deployment: Object) -> dict[str, str]:
    """desired-replicas and max-replicas, by which a later change of scale is spread."""
    replicas = rolling.spec_replicas(deployment)
    return {
        rolling.DESIRED: str(replicas),
        rolling.MAX: str(replicas + rolling.bounds(deployment).surge),
    }


def _history(history: str, old: str) -> str:
    entries = [entry for entry in history.split(",") if entry]
    entries.append(old)
    while len(",".join(entries)) > _HISTORY_LENGTH:
        entries.pop(0)
    return ",".join(entries)


def replica_set_for(deployment: Object, template_hash: str, owner: Object) -> Object:
    """The ReplicaSet for the present template, with 0 replicas and without the controller's annotations."""
    spec = deployment["spec"]
    template = spec["template"]
    labels = {**objects.labels(template), HASH_LABEL: template_hash}
    selector = spec["selector"]
    match = {**(selector.get("matchLabels") or {}), HASH_LABEL: template_hash}
    made = {
        "replicas": 0,
        "selector": {**selector, "matchLabels": match},
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        made["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{objects.name(deployment)}-{template_hash}",
            "namespace": objects.namespace(deployment),
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": made,
    }


def cleanable(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets beyond revisionHistoryLimit that hold no pods, the oldest revisions first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        limit = 10
    alive = sorted((r for r in old if not objects.is_deleting(r)), key=revision)
    surplus = alive[: max(0, len(alive) - int(limit))]
    return [replica_set for replica_set in surplus if _is_idle(replica_set)]


def _is_idle(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    generation = (replica_set.get("metadata") or {}).get("generation") or 0
    return (
        not rolling.spec_replicas(replica_set)
        and not status.get("replicas")
        and generation <= (status.get("observedGeneration") or 0)
    )


def rollback_to(deployment: Object) -> int | None:
    """The revision an annotation asks to go back to (0: the last one); None where it asks for none."""
    try:
        return int(objects.annotations(deployment)[ROLLBACK])
    except (KeyError, ValueError):
        return None


def last_revision(replica_sets: Iterable[Object]) -> int:
    """The highest revision but one; 0 where there is none."""
    known = sorted(revision(replica_set) for replica_set in replica_sets)
    return known[-2] if len(known) > 1 else 0


def not_rolled_back(deployment: Object) -> Object:
    """The Deployment without the wish to go back."""
    kept = {key: value for key, value in objects.annotations(deployment).items() if key != ROLLBACK}
    return {**deployment, "metadata": {**deployment["metadata"], "annotations": kept}}


def rolled_back(deployment: Object, replica_set: Object) -> Object | None:
    """The Deployment with template and annotations of the ReplicaSet; None where the template is the same.

    Annotations that are never copied to a ReplicaSet stay the Deployment's own.
    """
    template = replica_set["spec"]["template"]
    if same_template(template, deployment["spec"]["template"]):
        return None
    restored = not_rolled_back(deployment)
    labels = {key: value for key, value in objects.labels(template).items() if key != HASH_LABEL}
    metadata = {**(template.get("metadata") or {}), "labels": labels}
    annotations = {
        key: value for key, value in objects.annotations(restored).items() if key in _NOT_COPIED
    } | {key: value for key, value in objects.annotations(replica_set).items() if key not in _NOT_COPIED}
    return {
        **restored,
        "metadata": {**restored["metadata"], "annotations": annotations},
        "spec": {**restored["spec"], "template": {**template, "metadata": metadata}},
    }
