"""The I/O of the daemonset controller."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.controllers.daemonset import placement, steps
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import NotFound, StatusError
from sublet.reconcile import ownership, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.expectations import Expectations
from sublet.reconcile.history import History
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

_SETS = resource("daemonsets.apps")
_PODS = resource("pods")
_NODES = resource("nodes")
_BURST = 250
"""How many pods one reconcile creates, and deletes, at most."""


class DaemonSetReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._sets = context.informers.informer(_SETS)
        self._pods = context.informers.informer(_PODS)
        self._nodes = context.informers.informer(_NODES)
        self._pods.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)
        self._history = History(context, _SETS, placement.REVISION)
        self._latest = Latest()
        self._expected = Expectations(context.clock)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self.controller = Controller("daemonset-controller", self.reconcile, workers=2)
        self._sets.add_handler(self._on_set)
        self._pods.add_handler(self._on_pod)
        self._nodes.add_handler(self._on_node)
        self._history.informer.add_handler(self.controller.enqueue_controller("DaemonSet"))

    # -- what changed --

    def _on_set(self, event: str, daemon_set: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(daemon_set))
            self._expected.forget(objects.key(daemon_set))
            uid = objects.uid(daemon_set)
            self._failures = {key: value for key, value in self._failures.items() if key[0] != uid}
        self.controller.enqueue(objects.key(daemon_set))

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        for state in (pod, old):
            owner = objects.controller_of(state) if state is not None else None
            if owner is not None and owner.get("kind") == "DaemonSet":
                key = f"{objects.namespace(pod)}/{owner['name']}"
                if event == "add":
                    self._expected.creation_observed(key)
                if event == "delete" or objects.is_deleting(pod):
                    self._expected.deletion_observed(key, objects.uid(pod))
                self.controller.enqueue(key)
        if event != "delete" and objects.controller_of(pod) is None and objects.labels(pod):
            for daemon_set in self._sets.list(objects.namespace(pod)):
                if from_label_selector(daemon_set["spec"].get("selector")).matches(objects.labels(pod)):
                    self.controller.enqueue(objects.key(daemon_set))

    def _on_node(self, event: str, node: Object, old: Object | None) -> None:
        if old is not None and event == "update" and _placed_by(old) == _placed_by(node):
            return  # a heartbeat
        for daemon_set in self._sets.list():
            self.controller.enqueue(objects.key(daemon_set))

    # -- one reconciliation --

    async def reconcile(self, key: str) -> Result | None:
        cached = self._sets.get(*objects.split_key(key))
        if cached is None:
            return None
        daemon_set = self._latest.of(cached)
        selector = from_label_selector(daemon_set["spec"].get("selector"))
        if selector.everything:
            text = "This daemon set is selecting all pods. A non-empty selector is required."
            self._event(daemon_set, "Warning", "SelectingAll", text)
            return None
        if objects.is_deleting(daemon_set):
            return None
        may_change = self._expected.satisfied(key)
        pods = steps.by_node(await self._claimed(daemon_set))
        labels = objects.labels(daemon_set["spec"]["template"])
        revised = await self._history.sync(daemon_set, labels)
        revision = objects.labels(revised.update).get(placement.REVISION, "")
        verdicts = {objects.name(node): placement.verdict(daemon_set, node) for node in self._nodes.list()}
        now = self._context.clock.now()
        error: Exception | None = None
        wait = 0.0
        if may_change:
            planned = steps.manage(daemon_set, verdicts, pods, revision, now)
            wait = self._hold_back(daemon_set, planned, now)
            if not (planned.create or planned.delete) and steps.is_rolling(daemon_set):
                ended, planned = planned.ended, steps.update(daemon_set, verdicts, pods, revision, now)
                planned.ended = ended
            error = await self._act(key, daemon_set, planned, revision)
        new = steps.status(daemon_set, verdicts, pods, revision, revised.collisions, now, observed=may_change)
        await self._write_status(daemon_set, new)
        everywhere = [pod for here in pods.values() for pod in here]
        await self._clean(daemon_set, revised.revisions, revised.update, everywhere)
        if error is not None:
            raise error
        return self._again(daemon_set, everywhere, wait, now)

    def _again(self, daemon_set: Object, pods: Sequence[Object], wait: float, now: float) -> Result | None:
        seconds = int(daemon_set["spec"].get("minReadySeconds") or 0)
        waits = [left + 0.05 for pod in pods if (left := workloads.available_in(pod, seconds, now))]
        if wait:
            waits.append(wait)
        return Result(requeue_after=min(waits)) if waits else None

    def _hold_back(self, daemon_set: Object, planned: steps.Steps, now: float) -> float:
        """Leaves failed pods for a while where they fail again and again; seconds to the next that is due."""
        due: list[Object] = []
        waits: list[float] = []
        for pod in planned.ended:
            if workloads.phase(pod) == "Succeeded":
                due.append(pod)
                continue
            key = (objects.uid(daemon_set), placement.node_of(pod))
            count, last = self._failures.get(key, (0, 0.0))
            if now - last > steps.FAILURES_FORGOTTEN:
                count = 0
            left = last + steps.failed_backoff(count) - now
            if left > 0:
                waits.append(left)
                continue
            self._failures[key] = (count + 1, now)
            due.append(pod)
        planned.ended = due
        return min(waits, default=0.0)

    async def _claimed(self, daemon_set: Object) -> list[Object]:
        own = self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(daemon_set))
        orphans = self._pods.by_index(
            workloads.CONTROLLER_INDEX, workloads.orphan_key(objects.namespace(daemon_set))
        )
        return await ownership.claim(
            self._client,
            _PODS,
            daemon_set,
            objects.owner_reference(daemon_set, _SETS),
            from_label_selector(daemon_set["spec"].get("selector")),
            [*own, *orphans],
            ownership.lives(self._client, _SETS, daemon_set),
        )

    # -- acting --

    async def _act(
        self, key: str, daemon_set: Object, planned: steps.Steps, revision: str
    ) -> Exception | None:
        first: Exception | None = None
        for pod in planned.ended:
            where = f"daemon pod {objects.key(pod)} on node {placement.node_of(pod)}"
            if workloads.phase(pod) == "Failed":
                text = f"Found failed {where}, will try to kill it"
                self._event(daemon_set, "Warning", "FailedDaemonPod", text)
            else:
                text = f"Found succeeded {where}, will try to delete it"
                self._event(daemon_set, "Normal", "SucceededDaemonPod", text)
        for pod in (*planned.ended, *planned.delete)[:_BURST]:
            first = await self._delete(key, daemon_set, pod) or first
        nodes = planned.create[:_BURST]
        if not nodes:
            return first
        self._expected.expect_creations(key, len(nodes))

        async def create(number: int) -> None:
            await self._create(daemon_set, nodes[number], revision)

        done, error = await workloads.slow_start(len(nodes), create)
        self._expected.creation_observed(key, len(nodes) - done)
        if error is not None and not is_namespace_terminating(error):
            return error
        return first

    async def _create(self, daemon_set: Object, node: str, revision: str) -> None:
        try:
            made = await self._client.create(_PODS, placement.pod_for(daemon_set, node, revision))
        except StatusError as error:
            if not is_namespace_terminating(error):
                self._event(daemon_set, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self._event(daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {objects.name(made)}")

    async def _delete(self, key: str, daemon_set: Object, pod: Object) -> Exception | None:
        uid = objects.uid(pod)
        self._expected.expect_deletions(key, [uid])
        try:
            await self._client.delete(_PODS, objects.name(pod), objects.namespace(pod), uid=uid)
        except NotFound:
            self._expected.deletion_observed(key, uid)
        except StatusError as error:
            self._expected.deletion_observed(key, uid)
            self._event(daemon_set, "Warning", "FailedDelete", f"Error deleting: {error}")
            return error
        else:
            self._event(daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}")
        return None

    async def _clean(
        self, daemon_set: Object, revisions: Sequence[Object], update: Object, pods: Sequence[Object]
    ) -> None:
        hashes = {objects.labels(pod).get(placement.REVISION) for pod in pods}
        in_use = {objects.name(r) for r in revisions if objects.labels(r).get(placement.REVISION) in hashes}
        kept = frozenset({objects.name(update), *in_use})
        await self._history.truncate(daemon_set, revisions, kept, counts_used=True)

    async def _write_status(self, daemon_set: Object, status: Object) -> None:
        if status == (daemon_set.get("status") or {}):
            return
        try:
            written = await self._client.update_status(_SETS, {**daemon_set, "status": status})
        except NotFound:
            return
        self._latest.remember(written)

    def _event(self, daemon_set: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(daemon_set, _SETS, kind, reason, message)


def _placed_by(node: Object) -> tuple[object, ...]:
    """What of a node decides whether daemons run there."""
    spec = node.get("spec") or {}
    return objects.labels(node), spec.get("taints"), spec.get("unschedulable")
