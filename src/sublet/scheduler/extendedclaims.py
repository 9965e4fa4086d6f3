"""Extended resources that device classes serve: a pod that asks for some gets a claim of its own for them.

Source: kube-scheduler's DynamicResources (DRAExtendedResource): ``resources.limits`` of a container name what a
DeviceClass states as ``extendedResourceName``, or the class itself behind :data:`IMPLICIT`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sublet.machinery import objects, quantity, usage
from sublet.machinery.kind import Object
from sublet.scheduler.podinfo import PodInfo

IMPLICIT = "deviceclass.resource.kubernetes.io/"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"


def served(classes: Iterable[Object], wanted: Iterable[str]) -> dict[str, str]:
    """Of these resources those that a class serves, each with the class: of several the newest."""
    names = {name for name in wanted if "/" in name}
    found: dict[str, Object] = {}
    for each in classes:
        stated = (each.get("spec") or {}).get("extendedResourceName")
        for name in names & {stated, IMPLICIT + objects.name(each)}:
            if name not in found or _age(each) > _age(found[name]):
                found[name] = each
    return {name: objects.name(each) for name, each in found.items()}


def _age(device_class: Object) -> tuple[str, list[int]]:
    created = str(device_class["metadata"].get("creationTimestamp") or "")
    return created, [-ord(letter) for letter in objects.name(device_class)]


def is_special(claim: Object, pod: PodInfo) -> bool:
    """Whether the claim was made for the pod's extended resources."""
    owner = objects.controller_of(claim)
    made = objects.annotations(claim).get(ANNOTATION) == "true"
    return made and owner is not None and owner.get("uid") == pod.uid


def claim_for(pod: PodInfo, resources: Mapping[str, str]) -> tuple[Object, list[Object]]:
    """(the claim for these resources by class, which container's request gets what of it)."""
    requests: list[Object] = []
    mappings: list[Object] = []
    for name in sorted(resources):
        for request, mapping in _requests(pod, name, resources[name]):
            requests += [request] if request else []
            mappings += mapping
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
    claim: Object = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": f"{pod.name}-extended-resources-",
            "namespace": pod.namespace,
            "uid": f"extended resources of {pod.uid}",
            "annotations": {ANNOTATION: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": requests}},
    }
    return claim, mappings


def _requests(pod: PodInfo, name: str, class_name: str) -> Iterator[tuple[Object | None, list[Object]]]:
    """Per container what it asks for beyond what it may use of others, and what it uses.

    Containers that run together each have their own; one that is done before them uses theirs.
    """
    inits = pod.spec.get("initContainers") or []
    containers = [*inits, *(pod.spec.get("containers") or ())]
    brief = [index for index, each in enumerate(inits) if not usage.is_restartable(each)]
    made: dict[int, Object] = {}
    for index in [index for index in range(len(containers)) if index not in brief] + brief:
        others = [made[i] for i in sorted(made) if i > index or i in brief] if index in brief else ()
        request, mappings = _request(index, containers[index], name, class_name, others)
        if request:
            made[index] = request
        yield request, mappings


def _request(
    index: int, container: Object, name: str, class_name: str, others: Sequence[Object]
) -> tuple[Object | None, list[Object]]:
    asked = (container.get("resources") or {}).get("requests") or {}
    count = quantity.parse(str(asked[name])).value() if name in asked else 0
    mappings: list[Object] = []

    def use(request: str) -> None:
        mappings.append({"containerName": container["name"], "resourceName": name, "requestName": request})

    for other in others:
        if count <= 0:
            break
        use(other["name"])
        count -= other["exactly"]["count"]
    if count <= 0:
        return None, mappings
    made: Object = {
        "name": f"container-{index}-request-{sorted(asked).index(name)}",
        "exactly": {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count},
    }
    use(made["name"])
    return made, mappings
