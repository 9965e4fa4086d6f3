"""What holds in every cluster that has come to rest, whatever happened on the way: every test of faults ends with it.

Each invariant is one function of the :class:`World` that yields what is wrong, in words. ``settled`` waits until none
has anything to say.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sublet.client.client import Client
from sublet.machinery import objects, scheduling, usage
from sublet.machinery.kind import Object, Resource
from sublet.machinery.quantity import Quantity, parse
from sublet.machinery.selectors import from_label_selector

ENDED = ("Succeeded", "Failed")
_NOT_STORED = {"componentstatuses", "bindings"}


class World:
    """All objects of a control plane, by plural name (``pods``, ``deployments.apps``)."""

    def __init__(self, found: dict[str, list[Object]]) -> None:
        self._found = found
        self.uids = {objects.uid(obj): obj for items in found.values() for obj in items}

    def of(self, plural: str) -> list[Object]:
        return self._found.get(plural, [])

    def everything(self) -> Iterator[tuple[str, Object]]:
        for plural, items in self._found.items():
            for obj in items:
                yield plural, obj

    def controlled_by(self, plural: str, owner: Object) -> list[Object]:
        uid = objects.uid(owner)
        return [obj for obj in self.of(plural) if (objects.controller_of(obj) or {}).get("uid") == uid]

    def active_pods(self, owner: Object) -> list[Object]:
        """Pods that count for a workload: not ended and not on their way out."""
        pods = self.controlled_by("pods", owner)
        return [pod for pod in pods if phase(pod) not in ENDED and not objects.is_deleting(pod)]


Invariant = Callable[[World], Iterable[str]]


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def said(plural: str, obj: Object) -> str:
    return f"{plural} {objects.key(obj)}"


# -- every object --


def one_controller(world: World) -> Iterator[str]:
    for plural, obj in world.everything():
        if sum(bool(owner.get("controller")) for owner in objects.owners(obj)) > 1:
            yield f"{said(plural, obj)} has several controllers: {objects.owners(obj)}"


def no_orphan(world: World) -> Iterator[str]:
    """What had owners has at least one that is there."""
    for plural, obj in world.everything():
        owners = objects.owners(obj)
        if owners and not any(owner["uid"] in world.uids for owner in owners):
            names = ", ".join(f"{owner['kind']} {owner['name']}" for owner in owners)
            yield f"{said(plural, obj)} outlived its owners ({names})"


def no_stuck_deletion(world: World) -> Iterator[str]:
    for plural, obj in world.everything():
        if objects.is_deleting(obj):
            held = objects.finalizers(obj) or (obj.get("spec") or {}).get("finalizers")
            yield f"{said(plural, obj)} is still being deleted, held by {held}"


def no_object_without_its_namespace(world: World) -> Iterator[str]:
    namespaces = {objects.name(each) for each in world.of("namespaces")}
    for plural, obj in world.everything():
        if objects.namespace(obj) and objects.namespace(obj) not in namespaces:
            yield f"{said(plural, obj)} is in a namespace that is not there"


def namespaces_have_what_all_have(world: World) -> Iterator[str]:
    accounts = {objects.key(each) for each in world.of("serviceaccounts")}
    maps = {objects.key(each) for each in world.of("configmaps")}
    for namespace in map(objects.name, world.of("namespaces")):
        if f"{namespace}/default" not in accounts:
            yield f"namespace {namespace} has no ServiceAccount default"
        if f"{namespace}/kube-root-ca.crt" not in maps:
            yield f"namespace {namespace} has no ConfigMap kube-root-ca.crt"


# -- pods and nodes --


def pods_are_on_nodes_that_are_there(world: World) -> Iterator[str]:
    nodes = {objects.name(node) for node in world.of("nodes")}
    for pod in world.of("pods"):
        node = pod["spec"].get("nodeName")
        if node and node not in nodes:
            yield f"{said('pods', pod)} is on node {node}, which is not there"


def no_node_is_overfull(world: World) -> Iterator[str]:
    for node in world.of("nodes"):
        pods = [p for p in world.of("pods") if p["spec"].get("nodeName") == objects.name(node)]
        pods = [pod for pod in pods if phase(pod) not in ENDED]
        room = (node.get("status") or {}).get("allocatable") or {}
        if len(pods) > int(room.get("pods", 0)):
            yield f"node {objects.name(node)} holds {len(pods)} pods and has room for {room.get('pods')}"
        asked: dict[str, Quantity] = {}
        for pod in pods:
            for name, amount in usage.pod_requests(pod).items():
                asked[name] = asked[name] + amount if name in asked else amount
        for name, amount in asked.items():
            if name in room and amount > parse(room[name]):
                yield f"node {objects.name(node)}: {amount} of {name} are asked for, {room[name]} are there"
        ports = Counter(str(port) for pod in pods for port in scheduling.host_ports(pod))
        for port, count in ports.items():
            if count > 1:
                yield f"node {objects.name(node)}: host port {port} is used {count} times"


def pod_addresses_are_unique(world: World) -> Iterator[str]:
    holders: dict[str, list[str]] = defaultdict(list)
    for pod in world.of("pods"):
        address = (pod.get("status") or {}).get("podIP")
        if address and phase(pod) not in ENDED and not pod["spec"].get("hostNetwork"):
            holders[address].append(objects.key(pod))
    for address, pods in holders.items():
        if len(pods) > 1:
            yield f"address {address} belongs to {pods}"


def node_agents_know_the_newest_specification(world: World) -> Iterator[str]:
    for pod in world.of("pods"):
        status = pod.get("status") or {}
        if phase(pod) == "Running" and status.get("observedGeneration") != pod["metadata"].get("generation"):
            seen = status.get("observedGeneration")
            yield f"{said('pods', pod)}: generation {pod['metadata'].get('generation')}, observed {seen}"


# -- workloads --


def workloads_have_seen_their_specification(world: World) -> Iterator[str]:
    for plural in ("deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps",
                   "replicationcontrollers", "poddisruptionbudgets.policy"):  # fmt: skip
        for obj in world.of(plural):
            seen, newest = (obj.get("status") or {}).get("observedGeneration"), obj["metadata"]["generation"]
            if seen != newest:
                yield f"{said(plural, obj)}: generation {newest}, observed {seen}"


def replica_sets_have_as_many_pods_as_asked(world: World) -> Iterator[str]:
    for plural in ("replicasets.apps", "replicationcontrollers"):
        for owner in world.of(plural):
            wanted = owner["spec"].get("replicas", 1)
            pods = world.active_pods(owner)
            status = owner.get("status") or {}
            if len(pods) != wanted or status.get("replicas", 0) != wanted:
                yield (
                    f"{said(plural, owner)} wants {wanted} pods, has {len(pods)}, "
                    f"says {status.get('replicas', 0)}"
                )
            ready = sum(objects.is_true(pod, "Ready") for pod in pods)
            if status.get("readyReplicas", 0) != ready:
                yield f"{said(plural, owner)} has {ready} ready pods, says {status.get('readyReplicas', 0)}"


def deployments_are_complete(world: World) -> Iterator[str]:
    """One replica set holds all replicas, and the status says so."""
    for deployment in world.of("deployments.apps"):
        wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status") or {}
        sets = world.controlled_by("replicasets.apps", deployment)
        live = {objects.name(each): each["spec"]["replicas"] for each in sets if each["spec"]["replicas"]}
        if not deployment["spec"].get("paused") and (sum(live.values()) != wanted or len(live) > 1):
            yield f"{said('deployments', deployment)} wants {wanted} replicas; its replica sets: {live}"
        for part in ("replicas", "updatedReplicas", "availableReplicas"):
            if status.get(part, 0) != wanted:
                yield f"{said('deployments', deployment)} wants {wanted}; {part}: {status.get(part, 0)}"
        templates = Counter(objects.labels(each).get("pod-template-hash") for each in sets)
        for template, count in templates.items():
            if count > 1:
                yield f"{said('deployments', deployment)} has {count} replica sets of template {template}"


def stateful_sets_have_each_ordinal_once(world: World) -> Iterator[str]:
    for owner in world.of("statefulsets.apps"):
        first = (owner["spec"].get("ordinals") or {}).get("start", 0)
        wanted = {f"{objects.name(owner)}-{first + n}" for n in range(owner["spec"].get("replicas", 1))}
        found = [objects.name(pod) for pod in world.active_pods(owner)]
        if sorted(found) != sorted(wanted):
            yield f"{said('statefulsets', owner)} wants {sorted(wanted)}, has {sorted(found)}"
        ready = (owner.get("status") or {}).get("readyReplicas", 0)
        if ready != len(wanted):
            yield f"{said('statefulsets', owner)} says {ready} of {len(wanted)} are ready"


def daemon_sets_have_one_pod_per_node(world: World) -> Iterator[str]:
    for owner in world.of("daemonsets.apps"):
        status = owner.get("status") or {}
        nodes = Counter(pod["spec"].get("nodeName", "none") for pod in world.active_pods(owner))
        for node, count in nodes.items():
            if count > 1:
                yield f"{said('daemonsets', owner)} has {count} pods on node {node}"
        wanted = status.get("desiredNumberScheduled", 0)
        if len(nodes) != wanted or status.get("numberReady", 0) != wanted:
            yield f"{said('daemonsets', owner)} wants {wanted} nodes, has {dict(nodes)}: {status}"


def jobs_have_counted_every_pod(world: World) -> Iterator[str]:
    """A finished Job has no active pod, none that waits to be counted, and no index succeeded twice."""
    for job in world.of("jobs.batch"):
        status = job.get("status") or {}
        pods = world.controlled_by("pods", job)
        finished = any(objects.is_true(job, kind) for kind in ("Complete", "Failed"))
        active = world.active_pods(job)
        if finished and (active or status.get("active")):
            yield f"{said('jobs', job)} is finished and has active pods: {[objects.name(p) for p in active]}"
        if any((status.get("uncountedTerminatedPods") or {}).values()):
            yield f"{said('jobs', job)} has pods to count: {status['uncountedTerminatedPods']}"
        held = [objects.name(p) for p in pods if finished and objects.finalizers(p)]
        if held:
            yield f"{said('jobs', job)} is finished and still holds {held}"
        if objects.is_true(job, "Complete") and not job["spec"].get("successPolicy"):
            wanted = job["spec"].get("completions", 1)
            if status.get("succeeded", 0) != wanted:
                yield f"{said('jobs', job)} wants {wanted} successes, counts {status.get('succeeded', 0)}"
        if not finished and not job["spec"].get("suspend"):
            yield f"{said('jobs', job)} is not finished: {status}"
        if job["spec"].get("completionMode") == "Indexed":
            key = "batch.kubernetes.io/job-completion-index"
            done = Counter(objects.annotations(p).get(key) for p in pods if phase(p) == "Succeeded")
            if twice := [index for index, count in done.items() if count > 1]:
                yield f"{said('jobs', job)}: indexes {twice} succeeded twice"


def budgets_count_their_pods(world: World) -> Iterator[str]:
    for budget in world.of("poddisruptionbudgets.policy"):
        selector = from_label_selector(budget["spec"].get("selector"))
        pods = [
            pod
            for pod in world.of("pods")
            if objects.namespace(pod) == objects.namespace(budget)
            and selector.matches(objects.labels(pod))
            and phase(pod) not in ENDED
        ]
        healthy = sum(objects.is_true(pod, "Ready") for pod in pods)
        status = budget.get("status") or {}
        if status.get("currentHealthy", 0) != healthy:
            yield f"{said('budgets', budget)}: {healthy} healthy pods, says {status.get('currentHealthy')}"
        room = max(0, healthy - status.get("desiredHealthy", 0)) if status.get("expectedPods") else 0
        if status.get("disruptionsAllowed", 0) != room:
            yield f"{said('budgets', budget)} should allow {room} disruptions: {status}"


# -- services --


def endpoints_are_the_ready_pods(world: World) -> Iterator[str]:
    for service in world.of("services"):
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            continue
        wanted = sorted(_ready_addresses(world, service))
        slices = [s for s in world.of("endpointslices.discovery.k8s.io") if _is_slice_of(s, service)]
        found = sorted(
            address
            for each in slices
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready", True)
            for address in endpoint["addresses"]
        )
        if found != wanted:
            yield f"{said('services', service)}: ready pods {wanted}, in slices {found}"
        for each in world.of("endpoints"):
            if objects.key(each) == objects.key(service):
                listed = [a["ip"] for part in each.get("subsets") or () for a in part.get("addresses") or ()]
                if sorted(listed) != wanted:
                    yield f"{said('services', service)}: ready pods {wanted}, in Endpoints {sorted(listed)}"


def _ready_addresses(world: World, service: Object) -> Iterator[str]:
    selector = service["spec"]["selector"].items()
    for pod in world.of("pods"):
        if objects.namespace(pod) != objects.namespace(service) or phase(pod) in ENDED:
            continue
        if selector <= objects.labels(pod).items() and objects.is_true(pod, "Ready"):
            yield pod["status"]["podIP"]


def _is_slice_of(found: Object, service: Object) -> bool:
    same = objects.namespace(found) == objects.namespace(service)
    return same and objects.labels(found).get("kubernetes.io/service-name") == objects.name(service)


def service_addresses_are_unique(world: World) -> Iterator[str]:
    addresses: dict[str, list[str]] = defaultdict(list)
    for service in world.of("services"):
        for address in service["spec"].get("clusterIPs") or ():
            if address != "None":
                addresses[address].append(objects.key(service))
        for port in service["spec"].get("ports") or ():
            if port.get("nodePort"):
                addresses[f"node port {port['nodePort']}"].append(objects.key(service))
    for address, holders in addresses.items():
        if len(holders) > 1:
            yield f"{address} belongs to services {holders}"


# -- storage and quota --


def claims_and_volumes_agree(world: World) -> Iterator[str]:
    volumes = {objects.name(each): each for each in world.of("persistentvolumes")}
    claims = {objects.uid(each): each for each in world.of("persistentvolumeclaims")}
    for claim in claims.values():
        if (claim.get("status") or {}).get("phase") != "Bound":
            continue
        volume = volumes.get(claim["spec"].get("volumeName", ""))
        if volume is None:
            yield f"{said('claims', claim)} is bound to a volume that is not there"
        elif (volume["spec"].get("claimRef") or {}).get("uid") != objects.uid(claim):
            yield f"{said('claims', claim)} and volume {objects.name(volume)} disagree"
    for volume in volumes.values():
        held = (volume["spec"].get("claimRef") or {}).get("uid")
        if (volume.get("status") or {}).get("phase") == "Bound" and held not in claims:
            yield f"volume {objects.name(volume)} is bound to a claim that is not there"


def quotas_count_what_is_there(world: World) -> Iterator[str]:
    for quota in world.of("resourcequotas"):
        if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
            continue
        used = (quota.get("status") or {}).get("used") or {}
        for name, amount in _in_use(world, objects.namespace(quota)).items():
            if name in quota["spec"]["hard"] and parse(used.get(name, "-1")) != amount:
                yield f"{said('quotas', quota)}: {amount} of {name} are used, says {used.get(name)}"


def _in_use(world: World, namespace: str) -> dict[str, Quantity]:
    def inside(plural: str) -> list[Object]:
        return [obj for obj in world.of(plural) if objects.namespace(obj) == namespace]

    pods = [pod for pod in inside("pods") if phase(pod) not in ENDED]
    found = {"pods": parse(str(len(pods))), "requests.cpu": parse("0")}
    for pod in pods:
        found["requests.cpu"] += usage.pod_requests(pod).get("cpu", parse("0"))
    for plural in ("configmaps", "secrets", "services", "persistentvolumeclaims"):
        found[plural] = found[f"count/{plural}"] = parse(str(len(inside(plural))))
    found["count/jobs.batch"] = parse(str(len(inside("jobs.batch"))))
    return found


INVARIANTS: Sequence[Invariant] = (
    one_controller,
    no_orphan,
    no_stuck_deletion,
    no_object_without_its_namespace,
    namespaces_have_what_all_have,
    pods_are_on_nodes_that_are_there,
    no_node_is_overfull,
    pod_addresses_are_unique,
    node_agents_know_the_newest_specification,
    workloads_have_seen_their_specification,
    replica_sets_have_as_many_pods_as_asked,
    deployments_are_complete,
    stateful_sets_have_each_ordinal_once,
    daemon_sets_have_one_pod_per_node,
    jobs_have_counted_every_pod,
    budgets_count_their_pods,
    endpoints_are_the_ready_pods,
    service_addresses_are_unique,
    claims_and_volumes_agree,
    quotas_count_what_is_there,
)


def broken(world: World, but: Iterable[Invariant] = ()) -> list[str]:
    """``invariant: what is wrong`` for each thing that is; ``but``: those that a test breaks on purpose."""
    left = [each for each in INVARIANTS if each not in set(but)]
    return [f"{each.__name__}: {wrong}" for each in left for wrong in each(world)]


async def observed(client: Client) -> World:
    """Lists every kind that the API serves."""
    kinds = await _listed_kinds(client)
    lists = await asyncio.gather(*(client.list(kind) for kind in kinds))
    return World({kind.qualified: found["items"] for kind, found in zip(kinds, lists, strict=True)})


async def _listed_kinds(client: Client) -> list[Resource]:
    async def document(path: str) -> Any:
        body = (await client.raw("GET", path)).body
        assert isinstance(body, bytes)
        return json.loads(body)

    groups = await document("/apis")
    paths = ["/api/v1", *(f"/apis/{g['preferredVersion']['groupVersion']}" for g in groups["groups"])]
    found = []
    for path in paths:
        listed = await document(path)
        group, _, version = str(listed["groupVersion"]).rpartition("/")
        if group in ("events.k8s.io", "metrics.k8s.io"):
            continue  # the core group's Events again; and what nobody stores
        found += [
            Resource(group, version, each["name"], each["kind"], each["namespaced"])
            for each in listed["resources"]
            if "list" in each["verbs"] and "/" not in each["name"] and each["name"] not in _NOT_STORED
        ]
    return found


async def settled(client: Client, seconds: float = 60.0, but: Iterable[Invariant] = ()) -> World:
    """The world once every invariant holds, twice in a row. Fails with what is still wrong after ``seconds``."""
    loop = asyncio.get_running_loop()
    end, well = loop.time() + seconds, 0
    while True:
        world = await observed(client)
        wrong = broken(world, but)
        well = 0 if wrong else well + 1
        if well == 2:
            return world
        if wrong and loop.time() > end:
            raise AssertionError(f"after {seconds} s still wrong:\n" + "\n".join(wrong))
        await asyncio.sleep(0.2)
