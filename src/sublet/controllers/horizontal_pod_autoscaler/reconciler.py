"""The I/O of the horizontal pod autoscaler: reads scale and metrics, writes scale and status, every 15 seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sublet.controllers.horizontal_pod_autoscaler.behavior import Memory, decide
from sublet.controllers.horizontal_pod_autoscaler.metrics import Metrics
from sublet.controllers.horizontal_pod_autoscaler.proposals import NoProposal
from sublet.controllers.horizontal_pod_autoscaler.sources import Sources, Target
from sublet.kinds.resources import resource
from sublet.machinery import objects, selectors
from sublet.machinery.kind import Object, Resource
from sublet.machinery.selectors import Selector
from sublet.machinery.status import BadRequest, NotFound, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.discovery import Kinds
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.result import Result
from sublet.reconcile.workloads import set_condition

_AUTOSCALERS = resource("horizontalpodautoscalers.autoscaling")
_PODS = resource("pods")
_PERIOD = 15.0
_SETTING = "horizontal_pod_autoscaler_sync_period"

Condition = tuple[str, str, str, str]
"""(type, status, reason, message)"""


class Outcome:
    """What one look at an autoscaler has found; becomes its status."""

    def __init__(self, autoscaler: Object) -> None:
        status = autoscaler.get("status") or {}
        self.current = int(status.get("currentReplicas") or 0)
        self.desired = int(status.get("desiredReplicas") or 0)
        self.conditions: list[Condition] = []
        self.metrics: Sequence[Object] | None = None
        self.scaled = False

    def say(self, kind: str, status: str, reason: str, message: str) -> None:
        self.conditions.append((kind, status, reason, message))


class Autoscaler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._autoscalers = context.informers.informer(_AUTOSCALERS)
        self._pods = context.informers.informer(_PODS)
        self._kinds = Kinds(context.client, context.clock)
        self._sources = Sources(Metrics(context.client), self._kinds.resource_of)
        self._memories: dict[str, Memory] = {}
        self._selectors: dict[str, Selector] = {}
        """By the autoscaler's key, what its target's pods were selected by when last looked at."""
        self._latest = Latest()
        self.controller = Controller("horizontal-pod-autoscaler-controller", self.reconcile, workers=5)
        self._autoscalers.add_handler(self._on_autoscaler)

    def _on_autoscaler(self, event: str, autoscaler: Object, old: Object | None) -> None:
        if event == "delete":
            self._memories.pop(objects.uid(autoscaler), None)
            self._selectors.pop(objects.key(autoscaler), None)
            self._latest.forget(objects.uid(autoscaler))
        elif old is None or old.get("spec") != autoscaler.get("spec"):
            self.controller.enqueue(objects.key(autoscaler))

    async def reconcile(self, key: str) -> Result | None:
        cached = self._autoscalers.get(*objects.split_key(key))
        if cached is None or objects.is_deleting(cached):
            return None
        autoscaler = self._latest.of(cached)
        outcome = Outcome(autoscaler)
        try:
            await self._scale(autoscaler, outcome)
        finally:
            await self._write(autoscaler, outcome)
        return Result(requeue_after=float(self._context.settings.get(_SETTING, _PERIOD)))

    async def _scale(self, autoscaler: Object, outcome: Outcome) -> None:
        spec = autoscaler["spec"]
        try:
            target = await self._kinds.resource_of(
                spec["scaleTargetRef"]["apiVersion"], spec["scaleTargetRef"]["kind"]
            )
            scale = await self._client.get(
                target, spec["scaleTargetRef"]["name"], objects.namespace(autoscaler), "scale"
            )
        except StatusError as error:
            text = f"the HPA controller was unable to get the target's current scale: {error}"
            outcome.say("AbleToScale", "False", "FailedGetScale", text)
            self._event(autoscaler, "Warning", "FailedGetScale", str(error))
            return
        outcome.say(
            "AbleToScale", "True", "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )  # fmt: skip
        current = int((scale.get("spec") or {}).get("replicas") or 0)
        outcome.current = current
        now = self._context.clock.now()
        memory = self._memories.setdefault(objects.uid(autoscaler), Memory())
        memory.forget(now)
        if not memory.recommendations:
            memory.recommendations.append((now, current))  # what is there was somebody's choice
        wanted = await self._wanted(autoscaler, scale, current, outcome)
        if wanted is None:
            return
        desired, reason = wanted
        if desired == current:
            outcome.desired = desired
        else:
            await self._rescale(autoscaler, target, scale, desired, reason, outcome)

    async def _wanted(
        self, autoscaler: Object, scale: Object, current: int, outcome: Outcome
    ) -> tuple[int, str] | None:
        """(replicas, why), or None where nothing can be said."""
        spec = autoscaler["spec"]
        least, most = int(spec.get("minReplicas", 1)), int(spec["maxReplicas"])
        if current == 0 and least != 0:
            text = "scaling is disabled since the replica count of the target is zero"
            outcome.say("ScalingActive", "False", "ScalingDisabled", text)
            outcome.desired = 0
            return None
        if current > most:
            return most, "Current number of replicas above Spec.MaxReplicas"
        if current < least:
            return least, "Current number of replicas below Spec.MinReplicas"
        target = self._target(autoscaler, scale, outcome)
        if target is None:
            return None
        found = await self._proposed(autoscaler, target, outcome)
        if found is None:
            return None
        proposed, metric = found
        memory = self._memories[objects.uid(autoscaler)]
        decision = decide(
            spec.get("behavior"), memory, self._context.clock.now(), current, proposed, least, most
        )
        outcome.say("AbleToScale", *decision.able)
        outcome.say("ScalingLimited", *decision.limited)
        return (
            decision.replicas,
            f"{metric} above target" if proposed > current else "All metrics below target",
        )

    def _target(self, autoscaler: Object, scale: Object, outcome: Outcome) -> Target | None:
        text = str((scale.get("status") or {}).get("selector") or "")
        if not text:
            message = "the HPA target's scale is missing a selector"
            self._no_target(autoscaler, outcome, "InvalidSelector", message, "selector is required")
            return None
        try:
            selector = selectors.parse(text)
        except BadRequest as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            self._no_target(autoscaler, outcome, "InvalidSelector", message)
            return None
        namespace = objects.namespace(autoscaler)
        pods = self._pods.list(namespace, selector)
        self._selectors[objects.key(autoscaler)] = selector
        if len(others := self._selecting(namespace, pods)) > 1:
            named = " ".join(f"{{{name} {namespace}}}" for name in others)
            message = f"pods by selector {selector} are controlled by multiple HPAs: [{named}]"
            self._no_target(autoscaler, outcome, "AmbiguousSelector", message)
            return None
        return Target(
            namespace, text, pods,
            int((scale.get("spec") or {}).get("replicas") or 0),
            int((scale.get("status") or {}).get("replicas") or 0),
            self._context.clock.now(),
        )  # fmt: skip

    def _no_target(
        self, autoscaler: Object, outcome: Outcome, reason: str, message: str, short: str = ""
    ) -> None:
        """``short``: what the events say, where that is not the condition's message."""
        outcome.say("ScalingActive", "False", reason, message)
        self._event(autoscaler, "Warning", "SelectorRequired" if short else reason, short or message)
        self._event(autoscaler, "Warning", "FailedComputeMetricsReplicas", short or message)

    def _selecting(self, namespace: str, pods: Sequence[Object]) -> list[str]:
        """The autoscalers of a namespace whose targets one of the pods belongs to."""
        found = []
        for key, selector in self._selectors.items():
            where, name = objects.split_key(key)
            if where == namespace and any(selector.matches(objects.labels(pod)) for pod in pods):
                found.append(name)
        return sorted(found)

    async def _proposed(self, autoscaler: Object, target: Target, outcome: Outcome) -> tuple[int, str] | None:
        """The highest of what the metrics ask for; None where they fail and the rest would take replicas away."""
        best, name = 0, ""
        statuses: list[Object] = []
        failures: list[tuple[str, str, str]] = []
        metrics: Sequence[Mapping[str, Any]] = autoscaler["spec"].get("metrics") or ()
        for metric in metrics:
            try:
                replicas, shown, status = await self._sources.propose(metric, target, autoscaler["spec"])
            except (NoProposal, StatusError) as error:
                wrapped = f"failed to get {_described(metric)} metric value: {_within(metric)}{error}"
                failures.append((f"FailedGet{metric['type']}Metric", str(error), wrapped))
                statuses.append({"type": ""})  # entries stand at the places of their metrics
                continue
            statuses.append(status)
            if replicas > best or not name:
                best, name = replicas, shown
        outcome.metrics = statuses
        if failures and (not name or best < target.replicas):
            reason, message, wrapped = failures[0]
            text = f"the HPA was unable to compute the replica count: {message}"
            outcome.say("ScalingActive", "False", reason, text)
            self._event(autoscaler, "Warning", reason, message)
            total = (
                f"invalid metrics ({len(failures)} invalid out of {len(metrics)}), first error is: {wrapped}"
            )
            self._event(autoscaler, "Warning", "FailedComputeMetricsReplicas", total)
            return None
        text = f"the HPA was able to successfully calculate a replica count from {name}"
        outcome.say("ScalingActive", "True", "ValidMetricFound", text)
        return best, name

    async def _rescale(
        self, autoscaler: Object, target: Resource, scale: Object, desired: int, reason: str, outcome: Outcome
    ) -> None:
        before = outcome.current
        wanted = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": desired}}
        try:
            await self._client.update(target, wanted, subresource="scale")
        except StatusError as error:
            outcome.say(
                "AbleToScale", "False", "FailedUpdateScale",
                f"the HPA controller was unable to update the target scale: {error}",
            )  # fmt: skip
            self._event(
                autoscaler,
                "Warning",
                "FailedRescale",
                f"New size: {desired}; reason: {reason}; error: {error}",
            )
            return  # to be tried again in the next round, however often it fails
        text = f"the HPA controller was able to update the target scale to {desired}"
        outcome.say("AbleToScale", "True", "SucceededRescale", text)
        self._event(autoscaler, "Normal", "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        memory = self._memories.setdefault(objects.uid(autoscaler), Memory())
        memory.scaled(self._context.clock.now(), before, desired)
        outcome.desired = desired
        outcome.scaled = True

    async def _write(self, autoscaler: Object, outcome: Outcome) -> None:
        old = autoscaler.get("status") or {}
        now = objects.rfc3339(self._context.clock.now())
        conditions: list[Object] = list(old.get("conditions") or ())
        for kind, holds, reason, message in outcome.conditions:
            new = {
                "type": kind, "status": holds, "reason": reason, "message": message, "lastTransitionTime": now,
            }  # fmt: skip
            conditions = set_condition(conditions, new)
        status: Object = {
            **old,
            "observedGeneration": autoscaler["metadata"].get("generation"),
            "currentReplicas": outcome.current,
            "desiredReplicas": outcome.desired,
            "conditions": conditions,
        }
        status.pop("currentMetrics", None)
        if outcome.metrics:
            status["currentMetrics"] = list(outcome.metrics)
        if outcome.scaled:
            status["lastScaleTime"] = now
        status = {key: value for key, value in status.items() if value is not None}
        if status == {key: value for key, value in old.items() if value is not None}:
            return
        try:
            written = await self._client.update_status(_AUTOSCALERS, {**autoscaler, "status": status})
        except NotFound:
            return
        self._latest.remember(written)

    def _event(self, autoscaler: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(autoscaler, _AUTOSCALERS, kind, reason, message)


def _described(metric: Mapping[str, Any]) -> str:
    """A metric's source as the errors name it: ``cpu resource``, ``queue external``, ``pods``."""
    match metric["type"]:
        case "Resource":
            return f"{metric['resource']['name']} resource"
        case "ContainerResource":
            return f"{metric['containerResource']['container']} container"
        case "External":
            return f"{metric['external']['metric']['name']} external"
    return str(metric["type"]).lower()


def _within(metric: Mapping[str, Any]) -> str:
    """What upstream says once more of some metrics, between their source and the error."""
    if metric["type"] == "External":
        return f"failed to get {metric['external']['metric']['name']} external metric: "
    if metric["type"] == "Object" and metric["object"]["target"]["type"] == "AverageValue":
        return f"failed to get {metric['object']['metric']['name']} object metric: "
    return ""
