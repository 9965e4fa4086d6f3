"""The I/O of the statefulset controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sublet.controllers.statefulset import identity, steps
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import AlreadyExists, Conflict, NotFound, StatusError
from sublet.reconcile import ownership, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.history import History, template_of
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

_SETS = resource("statefulsets.apps")
_PODS = resource("pods")
_CLAIMS = resource("persistentvolumeclaims")


class StatefulSetReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._sets = context.informers.informer(_SETS)
        self._pods = context.informers.informer(_PODS)
        self._claims = context.informers.informer(_CLAIMS)
        self._pods.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)
        self._history = History(context, _SETS)
        self._latest = Latest()
        self.controller = Controller("statefulset-controller", self.reconcile, workers=5)
        self._sets.add_handler(self._on_set)
        self._pods.add_handler(self.controller.enqueue_controller("StatefulSet"))
        self._pods.add_handler(self._on_orphan)

    def _on_set(self, event: str, stateful_set: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(stateful_set))
        self.controller.enqueue(objects.key(stateful_set))

    def _on_orphan(self, event: str, pod: Object, _old: Object | None) -> None:
        if event == "delete" or objects.controller_of(pod) is not None or not objects.labels(pod):
            return
        for stateful_set in self._sets.list(objects.namespace(pod)):
            if from_label_selector(stateful_set["spec"].get("selector")).matches(objects.labels(pod)):
                self.controller.enqueue(objects.key(stateful_set))

    async def reconcile(self, key: str) -> Result | None:
        cached = self._sets.get(*objects.split_key(key))
        if cached is None:
            return None
        stateful_set = self._latest.of(cached)
        pods = identity.by_ordinal(stateful_set, await self._claimed(stateful_set))
        revised = await self._history.sync(stateful_set, objects.labels(stateful_set["spec"]["template"]))
        update = objects.name(revised.update)
        named = (stateful_set.get("status") or {}).get("currentRevision")
        present = next((r for r in revised.revisions if objects.name(r) == named), revised.update)
        current = objects.name(present)
        now = self._context.clock.now()
        planned = steps.plan(stateful_set, pods, update, now)
        error = await self._act(stateful_set, planned, pods, revised.update, present)
        new = steps.status(stateful_set, pods, current, update, revised.collisions, now)
        await self._write_status(stateful_set, new)
        in_use = frozenset({current, update, *(identity.revision_of(pod) for pod in pods.values())})
        await self._history.truncate(stateful_set, revised.revisions, in_use)
        if error is not None:
            raise error
        return self._wait(stateful_set, pods, now)

    def _wait(self, stateful_set: Object, pods: Mapping[int, Object], now: float) -> Result | None:
        seconds = int(stateful_set["spec"].get("minReadySeconds") or 0)
        waits = [wait for pod in pods.values() if (wait := workloads.available_in(pod, seconds, now))]
        waits += [wait for pod in pods.values() if (wait := steps.replaced_in(pod, now))]
        return Result(requeue_after=min(waits) + 0.05) if waits else None

    async def _claimed(self, stateful_set: Object) -> list[Object]:
        own = self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(stateful_set))
        orphans = self._pods.by_index(
            workloads.CONTROLLER_INDEX, workloads.orphan_key(objects.namespace(stateful_set))
        )
        return await ownership.claim(
            self._client,
            _PODS,
            stateful_set,
            objects.owner_reference(stateful_set, _SETS),
            from_label_selector(stateful_set["spec"].get("selector")),
            [*own, *orphans],
            ownership.lives(self._client, _SETS, stateful_set),
            may_adopt=lambda pod: identity.ordinal_of(stateful_set, pod) is not None,
        )

    # -- acting --

    async def _act(
        self,
        stateful_set: Object,
        planned: steps.Steps,
        pods: Mapping[int, Object],
        update: Object,
        current: Object,
    ) -> Exception | None:
        async def create(index: int) -> None:
            ordinal, takes_update = planned.create[index]
            await self._create(stateful_set, update if takes_update else current, ordinal)

        try:
            await self._keep_labels(stateful_set, pods)
            await self._keep_claims(stateful_set, pods)
            for pod in planned.delete:
                await self._delete(stateful_set, pod)
        except StatusError as error:
            return error
        _done, failed = await workloads.slow_start(len(planned.create), create)
        return None if failed is not None and is_namespace_terminating(failed) else failed

    async def _create(self, stateful_set: Object, revision: Object, ordinal: int) -> None:
        claims = identity.claims(stateful_set, ordinal)
        self._refuse_stale(stateful_set, claims, ordinal)
        for claim in claims:
            await self._create_claim(stateful_set, claim, ordinal)
        template = template_of(revision)
        pod = identity.pod(stateful_set, template, objects.name(revision), ordinal)
        what = f"create Pod {objects.name(pod)} in StatefulSet {objects.name(stateful_set)}"
        try:
            await self._client.create(_PODS, pod)
        except AlreadyExists:
            await self._accept_existing(stateful_set, objects.name(pod))
        except StatusError as error:
            if not is_namespace_terminating(error):
                self._event(stateful_set, "Warning", "FailedCreate", f"{what} failed error: {error}")
            raise
        else:
            self._event(stateful_set, "Normal", "SuccessfulCreate", f"{what} successful")

    def _refuse_stale(self, stateful_set: Object, claims: Sequence[Object], ordinal: int) -> None:
        """Raises ``Conflict`` while a claim is about to go: a new pod must not get it."""
        pod_name = identity.pod_name(stateful_set, ordinal)
        if self._pods.get(objects.namespace(stateful_set), pod_name) is not None:
            return
        for claim in claims:
            found = self._claims.get(objects.namespace(claim), objects.name(claim))
            if found is not None and identity.is_stale(found, pod_name):
                raise Conflict(f'persistentvolumeclaim "{objects.name(claim)}" is being deleted')

    async def _keep_labels(self, stateful_set: Object, pods: Mapping[int, Object]) -> None:
        """Gives pods back the labels that name them, in their order as far as all before them are well."""
        ordered = steps.is_ordered(stateful_set)
        now = self._context.clock.now()
        for ordinal in identity.ordinals(stateful_set):
            pod = pods.get(ordinal)
            well = pod is not None and steps.is_healthy(stateful_set, pod, now)
            if ordered and not well:
                return
            labels = identity.repaired_labels(stateful_set, pod) if pod is not None else None
            if pod is None or labels is None or not workloads.is_active(pod):
                continue
            what = f"update Pod {objects.name(pod)} in StatefulSet {objects.name(stateful_set)}"
            try:
                await self._client.update(_PODS, {**pod, "metadata": {**pod["metadata"], "labels": labels}})
            except StatusError as error:
                self._event(stateful_set, "Warning", "FailedUpdate", f"{what} failed error: {error}")
                raise
            self._event(stateful_set, "Normal", "SuccessfulUpdate", f"{what} successful")

    async def _accept_existing(self, stateful_set: Object, name: str) -> None:
        """The name is taken: fine where it is our own pod, which the informer lacks yet."""
        found = await self._client.get(_PODS, name, objects.namespace(stateful_set))
        owner = objects.controller_of(found) or {}
        if owner.get("uid") != objects.uid(stateful_set):
            raise Conflict(
                f'pod "{name}" exists and is not controlled by StatefulSet {objects.key(stateful_set)}'
            )

    async def _create_claim(self, stateful_set: Object, claim: Object, ordinal: int) -> None:
        name = objects.name(claim)
        found = self._claims.get(objects.namespace(claim), name)
        if found is not None:
            return
        references = identity.claim_owners(stateful_set, None, claim, condemned=False)
        if references:
            claim["metadata"]["ownerReferences"] = references
        pod = identity.pod_name(stateful_set, ordinal)
        what = f"create Claim {name} Pod {pod} in StatefulSet {objects.name(stateful_set)}"
        try:
            await self._client.create(_CLAIMS, claim)
        except AlreadyExists:
            return
        except StatusError as error:
            if not is_namespace_terminating(error):
                self._event(stateful_set, "Warning", "FailedCreate", f"{what} failed error: {error}")
            raise
        self._event(stateful_set, "Normal", "SuccessfulCreate", f"{what} success")

    async def _keep_claims(self, stateful_set: Object, pods: Mapping[int, Object]) -> None:
        """Makes claims a pending pod lacks, and ties claims to their owners by the retention policy."""
        if not stateful_set["spec"].get("volumeClaimTemplates"):
            return
        wanted = identity.ordinals(stateful_set)
        for ordinal, pod in pods.items():
            if objects.is_deleting(stateful_set):
                return
            for claim in identity.claims(stateful_set, ordinal):
                found = self._claims.get(objects.namespace(claim), objects.name(claim))
                if found is None:
                    if (
                        ordinal in wanted
                        and workloads.phase(pod) == "Pending"
                        and not objects.is_deleting(pod)
                    ):
                        await self._create_claim(stateful_set, claim, ordinal)
                    continue
                condemned = ordinal not in wanted
                references = identity.claim_owners(stateful_set, pod, found, condemned=condemned)
                if references is not None and not objects.is_deleting(found):
                    metadata = {**found["metadata"], "ownerReferences": references}
                    await self._client.update(_CLAIMS, {**found, "metadata": metadata})

    async def _delete(self, stateful_set: Object, pod: Object) -> None:
        what = f"delete Pod {objects.name(pod)} in StatefulSet {objects.name(stateful_set)}"
        try:
            await self._client.delete(_PODS, objects.name(pod), objects.namespace(pod), uid=objects.uid(pod))
        except NotFound:
            return
        except StatusError as error:
            self._event(stateful_set, "Warning", "FailedDelete", f"{what} failed error: {error}")
            raise
        self._event(stateful_set, "Normal", "SuccessfulDelete", f"{what} successful")

    async def _write_status(self, stateful_set: Object, status: Object) -> None:
        if status == (stateful_set.get("status") or {}):
            return
        try:
            written = await self._client.update_status(_SETS, {**stateful_set, "status": status})
        except NotFound:
            return
        self._latest.remember(written)

    def _event(self, stateful_set: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(stateful_set, _SETS, kind, reason, message)
