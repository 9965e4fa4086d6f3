"""What makes a StatefulSet's pod that one: its ordinal, name, labels, host name and claims."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile.workloads import pod_from_template

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
REVISION = "controller-revision-hash"
_SETS = resource("statefulsets.apps")
_ORDINAL = re.compile(r"-([0-9]+)$")


def first_ordinal(stateful_set: Object) -> int:
    return int((stateful_set["spec"].get("ordinals") or {}).get("start") or 0)


def ordinals(stateful_set: Object) -> range:
    """The ordinals that should have a pod."""
    replicas = stateful_set["spec"].get("replicas")
    start = first_ordinal(stateful_set)
    return range(start, start + (1 if replicas is None else int(replicas)))


def pod_name(stateful_set: Object, ordinal: int) -> str:
    return f"{objects.name(stateful_set)}-{ordinal}"


def ordinal_of(stateful_set: Object, pod: Object) -> int | None:
    """None where the pod's name is not one of this set's."""
    found = _ORDINAL.search(objects.name(pod))
    if found is None or objects.name(pod) != pod_name(stateful_set, int(found[1])):
        return None
    return int(found[1])


def revision_of(pod: Object) -> str:
    return objects.labels(pod).get(REVISION, "")


def claims(stateful_set: Object, ordinal: int) -> list[Object]:
    """The PersistentVolumeClaims of one pod, named ``TEMPLATE-SET-ORDINAL``."""
    made = []
    match = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        metadata = template.get("metadata") or {}
        kept: dict[str, Any] = {
            "name": f"{metadata.get('name', '')}-{pod_name(stateful_set, ordinal)}",
            "namespace": objects.namespace(stateful_set),
            "labels": {**(metadata.get("labels") or {}), **match},
        }
        if metadata.get("annotations"):
            kept["annotations"] = metadata["annotations"]
        made.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": kept,
                "spec": template.get("spec") or {},
            }
        )
    return made


def pod(stateful_set: Object, template: Object, revision: str, ordinal: int) -> Object:
    """The pod of an ordinal from the template of a revision."""
    name = pod_name(stateful_set, ordinal)
    made = pod_from_template(template, owner=objects.owner_reference(stateful_set, _SETS), name=name)
    made["metadata"]["namespace"] = objects.namespace(stateful_set)
    labels = made["metadata"].get("labels") or {}
    own = {POD_NAME: name, POD_INDEX: str(ordinal), REVISION: revision}
    made["metadata"]["labels"] = {**labels, **own}
    spec = {**made["spec"], "hostname": name}
    if service := stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = service
    mounted = {
        (template.get("metadata") or {}).get(
            "name", ""
        ): f"{(template.get('metadata') or {}).get('name', '')}-{name}"
        for template in stateful_set["spec"].get("volumeClaimTemplates") or ()
    }
    if mounted:
        others = [v for v in spec.get("volumes") or () if v.get("name") not in mounted]
        spec["volumes"] = [
            *({"name": n, "persistentVolumeClaim": {"claimName": c}} for n, c in mounted.items()),
            *others,
        ]
    made["spec"] = spec
    return made


def claim_owners(
    stateful_set: Object, pod: Object | None, claim: Object, *, condemned: bool
) -> list[Object] | None:
    """The owner references a claim should have by the retention policy; None where they are right.

    ``whenDeleted: Delete`` ties it to the set, ``whenScaled: Delete`` to a pod that scaling down takes away.
    """
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    with_set = policy.get("whenDeleted") == "Delete"
    with_pod = policy.get("whenScaled") == "Delete" and condemned and pod is not None
    if with_pod:
        with_set = False
    wanted: list[Object] = [
        owner for owner in objects.owners(claim) if not _is_ours(owner, stateful_set, pod)
    ]
    if with_set:
        wanted.append(objects.owner_reference(stateful_set, _SETS))
    if with_pod and pod is not None:
        reference = {"apiVersion": "v1", "kind": "Pod", "name": objects.name(pod), "uid": objects.uid(pod)}
        wanted.append({**reference, "controller": True, "blockOwnerDeletion": True})
    have = {owner.get("uid") for owner in objects.owners(claim)}
    return None if have == {owner.get("uid") for owner in wanted} else wanted


def _is_ours(owner: Object, stateful_set: Object, pod: Object | None) -> bool:
    if owner.get("uid") == objects.uid(stateful_set):
        return True
    return owner.get("kind") == "Pod" and (pod is None or owner.get("name") == objects.name(pod))


def by_ordinal(stateful_set: Object, pods: Iterable[Object]) -> dict[int, Object]:
    found = {}
    for each in pods:
        ordinal = ordinal_of(stateful_set, each)
        if ordinal is not None:
            found[ordinal] = each
    return found


def repaired_labels(stateful_set: Object, pod: Object) -> dict[str, str] | None:
    """The labels the pod should have where those that name it are not there any more; None where they are."""
    ordinal = ordinal_of(stateful_set, pod)
    own = {POD_NAME: objects.name(pod), POD_INDEX: str(ordinal)}
    labels = objects.labels(pod)
    return None if labels.get(POD_NAME) == own[POD_NAME] else {**labels, **own}


def is_stale(claim: Object, pod_name: str) -> bool:
    """Whether the claim goes with an earlier pod of the name, which is not there any more."""
    return objects.is_deleting(claim) or any(
        owner.get("kind") == "Pod" and owner.get("name") == pod_name for owner in objects.owners(claim)
    )
