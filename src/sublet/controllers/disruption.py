"""disruption-controller: how many pods each PodDisruptionBudget lets go. Eviction itself is the API server's.

Source: reference/kubernetes-api.md C (disruption) and the PodDisruptionBudget documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.selectors import from_label_selector, go_text
from sublet.machinery.status import Conflict, NotFound, StatusError
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.discovery import Kinds
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

_BUDGETS = resource("poddisruptionbudgets.policy")
_PODS = resource("pods")
_SCALED: Mapping[str, Resource] = {
    "Deployment": resource("deployments.apps"),
    "ReplicaSet": resource("replicasets.apps"),
    "StatefulSet": resource("statefulsets.apps"),
    "ReplicationController": resource("replicationcontrollers"),
}
DELETION_TIMEOUT = 120.0
"""How long an evicted pod may take to be marked for deletion before its slot is given back."""


class UnknownScale(Exception):
    """A pod's controller has no scale, so a percentage means nothing."""


def _with_condition(conditions: Sequence[Object], new: Object) -> list[Object]:
    """As other conditions are set, but for the observed generation, which is always the new one."""
    generation = new["observedGeneration"]
    return [
        {**each, "observedGeneration": generation} if each.get("type") == new["type"] else each
        for each in workloads.set_condition(conditions, new)
    ]


_UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: %s) were found to be unmanaged. As a result, the status of the "
    'PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.'
    'minAvailable" field of the PDB to an integer value.'
)


@dataclass(frozen=True)
class Counts:
    expected: int
    desired: int


def disrupted(budget: Object, pods: Sequence[Object], now: float) -> dict[str, str]:
    """status.disruptedPods that still count: evictions that were granted and not carried out yet."""
    known = {objects.name(pod): pod for pod in pods}
    found = {}
    for name, time in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = known.get(name)
        if pod is None or objects.is_deleting(pod) or objects.parse_time(time) + DELETION_TIMEOUT < now:
            continue
        found[name] = time
    return found


def healthy(pods: Sequence[Object], leaving: Mapping[str, str]) -> int:
    return sum(
        workloads.is_ready(pod) and not objects.is_deleting(pod) and objects.name(pod) not in leaving
        for pod in pods
    )


def status(budget: Object, pods: Sequence[Object], expected: int, desired: int, now: float) -> Object:
    leaving = disrupted(budget, pods, now)
    current = healthy(pods, leaving)
    allowed = max(0, current - desired) if expected > 0 else 0
    enough = allowed > 0
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if enough else "False",
        "reason": "SufficientPods" if enough else "InsufficientPods",
        "message": "",
        "observedGeneration": budget["metadata"].get("generation") or 0,
        "lastTransitionTime": objects.rfc3339(now),
    }
    made: Object = {
        "currentHealthy": current,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget["metadata"].get("generation") or 0,
        "conditions": _with_condition((budget.get("status") or {}).get("conditions") or (), condition),
    }
    if leaving:
        made["disruptedPods"] = leaving
    return made


class Disruption:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._budgets = context.informers.informer(_BUDGETS)
        self._pods = context.informers.informer(_PODS)
        self._owners = {kind: context.informers.informer(each) for kind, each in _SCALED.items()}
        self._kinds = Kinds(context.client, context.clock)
        self._latest = Latest()
        self.controller = Controller("disruption-controller", self.reconcile)
        self.stale = Controller("disruption-controller stale conditions", self._clear_stale)
        self._budgets.add_handler(self._on_budget)
        self._pods.add_handler(self._on_pod)

    def _on_budget(self, event: str, budget: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(budget))
        self.controller.enqueue(objects.key(budget))

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        for budget in self._budgets.list(objects.namespace(pod)):
            selector = from_label_selector(budget["spec"].get("selector"))
            if selector.matches(objects.labels(pod)) or (
                old is not None and selector.matches(objects.labels(old))
            ):
                self.controller.enqueue_after(objects.key(budget), 0.02)
        target = objects.condition(pod, "DisruptionTarget")
        if event != "delete" and target is not None and target.get("status") == "True":
            self.stale.enqueue(objects.key(pod))

    async def reconcile(self, key: str) -> Result | None:
        cached = self._budgets.get(*objects.split_key(key))
        if cached is None:
            return None
        budget = self._latest.of(cached)
        selector = from_label_selector(budget["spec"].get("selector"))
        pods = self._pods.list(objects.namespace(budget), selector)
        now = self._context.clock.now()
        if not pods:
            self._event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            counted = await self._counts(budget, pods)
        except (UnknownScale, StatusError) as error:
            await self._failed(budget, str(error), now)
            if isinstance(error, StatusError):
                raise
            return None
        self._tell_spared(budget, pods, now)
        new = status(budget, pods, counted.expected, counted.desired, now)
        await self._write(budget, new)
        expiries = [
            objects.parse_time(time) + DELETION_TIMEOUT - now
            for time in (new.get("disruptedPods") or {}).values()
        ]
        return Result(requeue_after=max(min(expiries), 1.0)) if expiries else None

    async def _counts(self, budget: Object, pods: Sequence[Object]) -> Counts:
        """maxUnavailable and percentages are of what the pods' controllers want, not of what is there."""
        spec = budget["spec"]
        if spec.get("maxUnavailable") is not None:
            expected = await self._expected(budget, pods)
            unavailable = workloads.scaled(spec["maxUnavailable"], expected, round_up=True)
            return Counts(expected, max(0, expected - unavailable))
        minimum = spec.get("minAvailable")
        if minimum is None:
            return Counts(0, 0)
        if isinstance(minimum, int):
            return Counts(len(pods), minimum)
        expected = await self._expected(budget, pods)
        return Counts(expected, workloads.scaled(minimum, expected, round_up=True))

    async def _expected(self, budget: Object, pods: Sequence[Object]) -> int:
        scales: dict[str, int] = {}
        asked: set[str] = set()
        unmanaged = False
        for pod in pods:
            reference = objects.controller_of(pod)
            if reference is None:
                unmanaged = True
            elif reference["uid"] not in asked:
                asked.add(reference["uid"])
                found = await self._scale(objects.namespace(pod), reference)
                if found is None:
                    raise UnknownScale(f'found no controllers for pod "{objects.name(pod)}"')
                uid, replicas = found
                scales[uid] = replicas
        if unmanaged:
            self._event(
                budget, "Warning", "UnmanagedPods", _UNMANAGED % go_text(budget["spec"].get("selector"))
            )
        return sum(scales.values())

    async def _scale(self, namespace: str, reference: Object) -> tuple[str, int] | None:
        """(uid, replicas) of the controller; a ReplicaSet stands for its Deployment. None where it is not there."""
        informer = self._owners.get(reference["kind"])
        owner = informer.get(namespace, reference["name"]) if informer is not None else None
        if owner is not None and objects.uid(owner) == reference["uid"]:
            above = objects.controller_of(owner)
            if above is not None and above.get("kind") == "Deployment":
                return await self._scale(namespace, above)
            value = owner["spec"].get("replicas")
            return reference["uid"], 1 if value is None else int(value)
        return await self._scale_subresource(namespace, reference)

    async def _scale_subresource(self, namespace: str, reference: Object) -> tuple[str, int] | None:
        kind = await self._kinds.find(reference["apiVersion"], reference["kind"])
        if not kind.scales:
            raise UnknownScale(f"{kind.resource.qualified} does not implement the scale subresource")
        try:
            scale = await self._client.get(kind.resource, reference["name"], namespace, "scale")
        except NotFound:
            return None
        if objects.uid(scale) != reference["uid"]:
            return None
        return reference["uid"], int((scale.get("spec") or {}).get("replicas") or 0)

    def _tell_spared(self, budget: Object, pods: Sequence[Object], now: float) -> None:
        """Events about pods whose eviction was granted and never carried out."""
        times = (budget.get("status") or {}).get("disruptedPods") or {}
        for pod in pods:
            time = times.get(objects.name(pod))
            if time and not objects.is_deleting(pod) and objects.parse_time(time) + DELETION_TIMEOUT < now:
                text = f"Pod was expected by PDB {objects.key(budget)} to be deleted but it wasn't"
                self._context.events.event(pod, _PODS, "Warning", "NotDeleted", text)

    async def _failed(self, budget: Object, message: str, now: float) -> None:
        old = budget.get("status") or {}
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "SyncFailed",
            "message": message,
            "observedGeneration": old.get("observedGeneration") or 0,
            "lastTransitionTime": objects.rfc3339(now),
        }
        new = {
            "currentHealthy": 0,
            "desiredHealthy": 0,
            "expectedPods": 0,
            **old,
            "disruptionsAllowed": 0,
            "conditions": _with_condition(old.get("conditions") or (), condition),
        }
        text = f"Failed to calculate the number of expected pods: {message}"
        self._event(budget, "Warning", "CalculateExpectedPodCountFailed", text)
        await self._write(budget, new)

    async def _write(self, budget: Object, new: Object) -> None:
        if new == (budget.get("status") or {}):
            return
        try:
            written = await self._client.update_status(_BUDGETS, {**budget, "status": new})
        except NotFound:
            return
        self._latest.remember(written)

    async def _clear_stale(self, key: str) -> Result | None:
        """A pod said to be disrupted two minutes ago that is not even being deleted: it was spared."""
        pod = self._pods.get(*objects.split_key(key))
        if pod is None or objects.is_deleting(pod) or workloads.is_finished(pod):
            return None
        target = objects.condition(pod, "DisruptionTarget")
        if target is None or target.get("status") != "True":
            return None
        now = self._context.clock.now()
        left = objects.since(target) + DELETION_TIMEOUT - now
        if left > 0:
            return Result(requeue_after=left)
        cleared = {"type": "DisruptionTarget", "status": "False", "lastTransitionTime": objects.rfc3339(now)}
        conditions = [
            cleared if c.get("type") == "DisruptionTarget" else c for c in pod["status"]["conditions"]
        ]
        try:
            await self._client.update_status(
                _PODS, {**pod, "status": {**pod["status"], "conditions": conditions}}
            )
        except (Conflict, NotFound):
            return Result(requeue_after=1.0)
        return None

    def _event(self, budget: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(budget, _BUDGETS, kind, reason, message)


def setup(context: Context) -> Sequence[Controller]:
    disruption = Disruption(context)
    return [disruption.controller, disruption.stale]


CONTROLLER = Registration("disruption-controller", setup, component="controllermanager")
