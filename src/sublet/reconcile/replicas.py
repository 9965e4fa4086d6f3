"""Keeping a number of equal pods: what the ReplicaSet and the ReplicationController have in common."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.selectors import Selector
from sublet.machinery.status import NotFound, StatusError
from sublet.reconcile import ownership, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.expectations import Expectations
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.pace import Pace, come_to_nothing
from sublet.reconcile.result import Result

_PODS = resource("pods")
_log = logging.getLogger(__name__)
_BIG = 20
"""From how many replicas on pod events are gathered for a moment before the owner is looked at."""
_GATHER = 0.0002
"""Seconds per replica for which they are gathered: as a look at a pod takes some 8 µs, a small part of the time."""
_LONGEST_GATHER = 1.0


@dataclass(frozen=True)
class PodCounts:
    """What of an owner's pods the status tells."""

    replicas: int
    fully_labeled: int
    ready: int
    available: int
    terminating: int
    next_available: float | None
    """Seconds until one more ready pod counts as available."""


def count(owner: Object, pods: Sequence[Object], now: float) -> PodCounts:
    spec = owner["spec"]
    template_labels = objects.labels(spec.get("template") or {}).items()
    seconds = int(spec.get("minReadySeconds") or 0)
    active = labeled = ready = available = terminating = 0
    next_available: float | None = None
    for pod in pods:  # one pass, as there may be thousands
        if workloads.is_finished(pod):
            continue
        if objects.is_deleting(pod):
            terminating += 1
            continue
        active += 1
        labeled += template_labels <= objects.labels(pod).items()
        wait = workloads.available_in(pod, seconds, now)
        if wait is None:
            continue
        ready += 1
        if wait:
            next_available = min(wait, next_available or wait)
        else:
            available += 1
    return PodCounts(active, labeled, ready, available, terminating, next_available)


def status(
    owner: Object, counted: PodCounts, error: Exception | None, now: float, *, terminating: bool
) -> Object:
    """The owner's new status; ``error`` is what creating or deleting pods ended with."""
    old = owner.get("status") or {}
    fields = {
        "replicas": counted.replicas,
        "fullyLabeledReplicas": counted.fully_labeled,
        "readyReplicas": counted.ready,
        "availableReplicas": counted.available,
    }
    new: dict[str, Any] = {"replicas": counted.replicas}
    new |= {name: value for name, value in fields.items() if value}
    if terminating:
        new["terminatingReplicas"] = counted.terminating
    new["observedGeneration"] = owner["metadata"].get("generation") or 0
    conditions = list(old.get("conditions") or ())
    failed = objects.condition(owner, "ReplicaFailure")
    if error is not None and failed is None:
        lacking = counted.replicas < _wanted(owner)
        condition = {
            "type": "ReplicaFailure",
            "status": "True",
            "lastTransitionTime": objects.rfc3339(now),
            "reason": "FailedCreate" if lacking else "FailedDelete",
            "message": str(error),
        }
        conditions.append(condition)
    elif error is None and failed is not None:
        conditions = workloads.without_condition(conditions, "ReplicaFailure")
    if conditions:
        new["conditions"] = conditions
    return new


class FailedDeletion(StatusError):
    """Pods that were to go could not be deleted."""


def _node(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _wanted(owner: Object) -> int:
    value = owner["spec"].get("replicas")
    return 1 if value is None else int(value)


def _only_status_differs(owner: Object, old: Object) -> bool:
    def stated(obj: Object) -> Object:
        return {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}

    return stated(owner) == stated(old) and owner["spec"] == old["spec"]


class Replicas:
    """Reconciles owners of one kind: creates, deletes, adopts and releases pods, and writes the status."""

    def __init__(
        self,
        context: Context,
        owner: Resource,
        name: str,
        selector: Callable[[Object], Selector],
        *,
        terminating: bool,
    ) -> None:
        self._context = context
        self._owner = owner
        self._selector = selector
        self._terminating = terminating
        self._expected = Expectations(context.clock)
        self._latest = Latest()
        self._pace = Pace(context.clock)
        self._owners = context.informers.informer(owner)
        self._pods = context.informers.informer(_PODS)
        for informer in (self._owners, self._pods):
            informer.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)
        self.controller = Controller(name, self.reconcile, workers=5)
        self._owners.add_handler(self._on_owner)
        self._pods.add_handler(self._on_pod)

    def _on_owner(self, event: str, owner: Object, old: Object | None) -> None:
        if event == "delete":
            self._expected.forget(objects.key(owner))
            self._pace.forget(objects.key(owner))
            self._latest.forget(objects.uid(owner))
        if old is not None and event == "update" and _only_status_differs(owner, old):
            self._enqueue(owner)  # mostly our own write: at once would mean without a pause
        else:
            self.controller.enqueue(objects.key(owner))

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        owner = self._owner_of(pod)
        if old is not None and (before := self._owner_of(old)) is not None and before is not owner:
            self._enqueue(before)
        if owner is None:
            if objects.controller_of(pod) is None and event != "delete":
                self._enqueue_matching(pod)
            return
        key = objects.key(owner)
        waited = not self._expected.satisfied(key)
        if event == "add":
            self._expected.creation_observed(key)
        if event == "delete" or objects.is_deleting(pod):
            self._expected.deletion_observed(key, objects.uid(pod))
        if waited and self._expected.satisfied(key):
            self.controller.enqueue(key)  # the next batch can begin
        else:
            self._enqueue(owner)

    def _owner_of(self, pod: Object) -> Object | None:
        reference = objects.controller_of(pod)
        if reference is None or reference.get("kind") != self._owner.kind:
            return None
        owner = self._owners.get(objects.namespace(pod), reference["name"])
        return owner if owner is not None and objects.uid(owner) == reference["uid"] else None

    def _enqueue(self, owner: Object) -> None:
        if _wanted(owner) > _BIG:
            self.controller.enqueue_after(objects.key(owner), min(_LONGEST_GATHER, _GATHER * _wanted(owner)))
        else:
            self.controller.enqueue(objects.key(owner))

    def _enqueue_matching(self, pod: Object) -> None:
        labels = objects.labels(pod)
        if not labels:
            return
        for owner in self._owners.list(objects.namespace(pod)):
            if self._selector(owner).matches(labels):
                self.controller.enqueue(objects.key(owner))

    async def reconcile(self, key: str) -> Result | None:
        cached = self._owners.get(*objects.split_key(key))
        if cached is None:
            self._expected.forget(key)
            return None
        owner = self._latest.of(cached)
        may_change = self._expected.satisfied(key)
        pods = await self._claimed(owner)
        error: Exception | None = None
        if may_change and not objects.is_deleting(owner):
            active = [pod for pod in pods if workloads.is_active(pod)]
            error = await self._manage(key, owner, pods, active)
        counted = count(owner, pods, self._context.clock.now())
        await self._write_status(owner, counted, error)
        if error is not None:
            raise error
        if counted.next_available is not None:
            return Result(requeue_after=counted.next_available + 0.05)
        return None

    async def _claimed(self, owner: Object) -> list[Object]:
        own = self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(owner))
        orphans = self._pods.by_index(
            workloads.CONTROLLER_INDEX, workloads.orphan_key(objects.namespace(owner))
        )
        return await ownership.claim(
            self._context.client,
            _PODS,
            owner,
            objects.owner_reference(owner, self._owner),
            self._selector(owner),
            [*own, *orphans],
            ownership.lives(self._context.client, self._owner, owner),
            may_adopt=workloads.is_active,
        )

    async def _manage(
        self, key: str, owner: Object, pods: Sequence[Object], active: Sequence[Object]
    ) -> Exception | None:
        missing = _wanted(owner) - len(active)
        if missing > 0:
            number = min(missing, workloads.BURST)
            if come_to_nothing(pods, _wanted(owner), self._context.clock.now()):
                number, seconds = self._pace.allows(key, missing)
                self.controller.enqueue_after(key, seconds)
            return await self._create(key, owner, number) if number else None
        if missing < 0:
            return await self._delete(key, owner, active, min(-missing, workloads.BURST))
        return None

    async def _create(self, key: str, owner: Object, number: int) -> Exception | None:
        self._expected.expect_creations(key, number)
        pod = workloads.pod_from_template(
            owner["spec"]["template"],
            owner=objects.owner_reference(owner, self._owner),
            generate_name=workloads.pod_prefix(objects.name(owner)),
        )
        pod["metadata"]["namespace"] = objects.namespace(owner)

        async def create(_index: int) -> None:
            try:
                made = await self._context.client.create(_PODS, pod)
            except StatusError as error:
                if not is_namespace_terminating(error):
                    self._event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            self._event(owner, "Normal", "SuccessfulCreate", f"Created pod: {objects.name(made)}")

        done, error = await workloads.slow_start(number, create)
        self._expected.creation_observed(key, number - done)
        return None if error is not None and is_namespace_terminating(error) else error

    async def _delete(
        self, key: str, owner: Object, active: Sequence[Object], number: int
    ) -> Exception | None:
        on_node = Counter(_node(pod) for pod in self._related(owner, active))
        chosen = workloads.deletion_order(active, lambda pod: on_node[_node(pod)], self._context.clock.now())[
            :number
        ]
        self._expected.expect_deletions(key, (objects.uid(pod) for pod in chosen))
        first: Exception | None = None
        for pod in chosen:
            try:
                await self._context.client.delete(
                    _PODS, objects.name(pod), objects.namespace(pod), uid=objects.uid(pod)
                )
            except NotFound:
                self._expected.deletion_observed(key, objects.uid(pod))
            except StatusError as error:
                self._expected.deletion_observed(key, objects.uid(pod))
                self._event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
                first = first or FailedDeletion(f"unable to delete pods: {error}")
            else:
                self._event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}")
        return first

    def _related(self, owner: Object, active: Sequence[Object]) -> list[Object]:
        """The active pods of all that the owner's own controller owns: of all ReplicaSets of a Deployment."""
        above = objects.controller_of(owner)
        if above is None:
            return list(active)
        return [
            pod
            for sibling in self._owners.by_index(workloads.CONTROLLER_INDEX, above["uid"])
            for pod in self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(sibling))
            if workloads.is_active(pod)
        ]

    async def _write_status(self, owner: Object, counted: PodCounts, error: Exception | None) -> None:
        new = status(owner, counted, error, self._context.clock.now(), terminating=self._terminating)
        if new == (owner.get("status") or {}):
            return
        try:
            written = await self._context.client.update_status(self._owner, {**owner, "status": new})
        except NotFound:
            return
        self._latest.remember(written)

    def _event(self, owner: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(owner, self._owner, kind, reason, message)


def is_namespace_terminating(error: Exception) -> bool:
    """A refusal that no retry will change: the namespace is being deleted."""
    return isinstance(error, StatusError) and any(
        cause.reason == "NamespaceTerminating" for cause in error.causes
    )
