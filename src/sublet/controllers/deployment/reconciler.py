"""The I/O of the deployment controller: which ReplicaSets are its own, and the writes that the arithmetic asks for."""

from __future__ import annotations

from dataclasses import dataclass

from sublet.controllers.deployment import progress, revisions, rolling
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.owners import template_hash
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.reconcile import ownership, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

_DEPLOYMENTS = resource("deployments.apps")
_REPLICA_SETS = resource("replicasets.apps")
_PODS = resource("pods")


@dataclass
class Rollout:
    """One Deployment with its ReplicaSets, as known at one moment."""

    deployment: Object
    new: Object | None
    old: list[Object]

    @property
    def everything(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new is not None else [])]

    def replace(self, written: Object) -> None:
        """Takes in a ReplicaSet that was written."""
        if self.new is not None and objects.uid(self.new) == objects.uid(written):
            self.new = written
        self.old = [written if objects.uid(r) == objects.uid(written) else r for r in self.old]


class DeploymentReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._deployments = context.informers.informer(_DEPLOYMENTS)
        self._replica_sets = context.informers.informer(_REPLICA_SETS)
        self._pods = context.informers.informer(_PODS)
        for informer in (self._replica_sets, self._pods):
            informer.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)
        self._latest = Latest()
        self.controller = Controller("deployment-controller", self.reconcile, workers=5)
        self._deployments.add_handler(self._on_deployment)
        self._replica_sets.add_handler(self._on_replica_set)
        self._pods.add_handler(self._on_pod)

    # -- what changed --

    def _on_deployment(self, event: str, deployment: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(deployment))
        self.controller.enqueue(objects.key(deployment))

    def _on_replica_set(self, event: str, replica_set: Object, old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(replica_set))
        for state in (replica_set, old):
            if state is None:
                continue
            owner = objects.controller_of(state)
            if owner is not None:
                if owner.get("kind") == "Deployment":
                    self.controller.enqueue(f"{objects.namespace(state)}/{owner['name']}")
            elif event != "delete":
                self._enqueue_matching(state)

    def _enqueue_matching(self, replica_set: Object) -> None:
        labels = objects.labels(replica_set)
        if not labels:
            return
        for deployment in self._deployments.list(objects.namespace(replica_set)):
            if from_label_selector(deployment["spec"].get("selector")).matches(labels):
                self.controller.enqueue(objects.key(deployment))

    def _on_pod(self, event: str, pod: Object, _old: Object | None) -> None:
        """Recreate waits for the last old pod to be gone or finished."""
        owner = objects.controller_of(pod)
        if owner is None or owner.get("kind") != "ReplicaSet":
            return
        if event != "delete" and not workloads.is_finished(pod):
            return
        replica_set = self._replica_sets.get(objects.namespace(pod), owner["name"])
        above = objects.controller_of(replica_set) if replica_set is not None else None
        if above is None or above.get("kind") != "Deployment":
            return
        deployment = self._deployments.get(objects.namespace(pod), above["name"])
        if deployment is not None and not rolling.is_rolling(deployment):
            self.controller.enqueue(objects.key(deployment))

    # -- one reconciliation --

    async def reconcile(self, key: str) -> Result | None:
        cached = self._deployments.get(*objects.split_key(key))
        if cached is None:
            return None
        deployment = self._latest.of(cached)
        selector = from_label_selector(deployment["spec"].get("selector"))
        if selector.everything:
            await self._refuse_everything(deployment)
            return None
        owned = await self._claimed(deployment)
        new = revisions.find_new(deployment, owned)
        old = [r for r in owned if new is None or objects.uid(r) != objects.uid(new)]
        rollout = Rollout(deployment, new, old)
        if objects.is_deleting(deployment):
            await self._write_status(rollout, self._counts(rollout))
            return None
        now = self._context.clock.now()
        if (changed := progress.paused_condition(deployment, now)) is not None:
            status = {**(deployment.get("status") or {}), "conditions": changed}
            await self._write_status(rollout, status)
        if deployment["spec"].get("paused"):
            return await self._sync(rollout, paused=True)
        if revisions.rollback_to(rollout.deployment) is not None:
            await self._roll_back(rollout)
            return None
        if rolling.is_scaling(deployment, rollout.everything):
            return await self._sync(rollout, paused=False)
        if rolling.is_rolling(deployment):
            return await self._roll(rollout)
        return await self._recreate(rollout)

    async def _refuse_everything(self, deployment: Object) -> None:
        self._event(
            deployment, "Warning", "SelectingAll",
            "This deployment is selecting all pods. A non-empty selector is required.",
        )  # fmt: skip
        status = deployment.get("status") or {}
        generation = deployment["metadata"].get("generation") or 0
        if (status.get("observedGeneration") or 0) < generation:
            await self._client.update_status(
                _DEPLOYMENTS, {**deployment, "status": {**status, "observedGeneration": generation}}
            )

    async def _claimed(self, deployment: Object) -> list[Object]:
        own = self._replica_sets.by_index(workloads.CONTROLLER_INDEX, objects.uid(deployment))
        orphans = self._replica_sets.by_index(
            workloads.CONTROLLER_INDEX, workloads.orphan_key(objects.namespace(deployment))
        )
        return await ownership.claim(
            self._client,
            _REPLICA_SETS,
            deployment,
            objects.owner_reference(deployment, _DEPLOYMENTS),
            from_label_selector(deployment["spec"].get("selector")),
            [self._latest.of(replica_set) for replica_set in (*own, *orphans)],
            ownership.lives(self._client, _DEPLOYMENTS, deployment),
        )

    # -- the three ways --

    async def _sync(self, rollout: Rollout, *, paused: bool) -> Result | None:
        """Only sizes follow: the Deployment is paused, or its scale changed."""
        await self._renew_new(rollout, create=False)
        await self._resize(rollout, rolling.scale(rollout.deployment, rollout.new, rollout.old), renew=True)
        if paused and revisions.rollback_to(rollout.deployment) is None:
            await self._clean(rollout)
        await self._write_status(rollout, self._counts(rollout))
        return None

    async def _roll(self, rollout: Rollout) -> Result | None:
        if not await self._renew_new(rollout, create=True):
            return None
        new = rollout.new
        if new is not None:
            size = rolling.new_replicas(rollout.deployment, rollout.everything, rolling.spec_replicas(new))
            if rolling.spec_replicas(new) > rolling.spec_replicas(rollout.deployment):
                size = rolling.spec_replicas(rollout.deployment)
            if size != rolling.spec_replicas(new):
                await self._resize(rollout, {objects.name(new): size})
                return await self._report(rollout)
            if sizes := rolling.shrink_old(rollout.deployment, new, rollout.old):
                await self._resize(rollout, sizes)
                return await self._report(rollout)
        if progress.is_complete(rollout.deployment, self._counts(rollout)):
            await self._clean(rollout)
        return await self._report(rollout)

    async def _recreate(self, rollout: Rollout) -> Result | None:
        await self._renew_new(rollout, create=False)
        sizes = {objects.name(r): 0 for r in rollout.old if rolling.spec_replicas(r)}
        if sizes:
            await self._resize(rollout, sizes)
            return await self._report(rollout)
        if any(self._has_running_pods(replica_set) for replica_set in rollout.old):
            return await self._report(rollout)
        if rollout.new is None and not await self._renew_new(rollout, create=True):
            return None
        if rollout.new is not None:
            wanted = rolling.spec_replicas(rollout.deployment)
            if rolling.spec_replicas(rollout.new) != wanted:
                await self._resize(rollout, {objects.name(rollout.new): wanted})
        if progress.is_complete(rollout.deployment, self._counts(rollout)):
            await self._clean(rollout)
        return await self._report(rollout)

    async def _roll_back(self, rollout: Rollout) -> None:
        """Puts the template of an earlier revision back, as an annotation asks; the annotation goes in any case."""
        await self._renew_new(rollout, create=True)
        deployment = rollout.deployment
        asked = revisions.rollback_to(deployment)
        wanted = asked or revisions.last_revision(rollout.everything)
        found = next((r for r in rollout.everything if wanted and revisions.revision(r) == wanted), None)
        restored = None if found is None else revisions.rolled_back(deployment, found)
        written = await self._client.update(_DEPLOYMENTS, restored or revisions.not_rolled_back(deployment))
        rollout.deployment = self._latest.remember(written)
        name = objects.name(deployment)
        if restored is not None:
            text = f'Rolled back deployment "{name}" to revision {wanted}'
            self._event(deployment, "Normal", "DeploymentRollback", text)
        elif found is not None:
            text = f'The rollback revision contains the same template as current deployment "{name}"'
            self._event(deployment, "Warning", "DeploymentRollbackTemplateUnchanged", text)
        else:
            text = (
                "Unable to find the revision to rollback to." if wanted else "Unable to find last revision."
            )
            self._event(deployment, "Warning", "DeploymentRollbackRevisionNotFound", text)

    def _has_running_pods(self, replica_set: Object) -> bool:
        pods = self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(replica_set))
        return any(not workloads.is_finished(pod) for pod in pods)

    # -- the new ReplicaSet --

    async def _renew_new(self, rollout: Rollout, *, create: bool) -> bool:
        """Makes sure the new ReplicaSet exists (if ``create``) and carries revision and annotations.

        False where the reconciliation should stop: the Deployment comes back by itself.
        """
        revision = revisions.next_revision(rollout.old)
        found_before = rollout.new is not None
        if rollout.new is not None:
            await self._renew(rollout, rollout.new, revision)
        elif not create:
            return True
        elif not await self._create_new(rollout, revision):
            return False
        await self._mark(rollout, found_before)
        return True

    async def _renew(self, rollout: Rollout, new: Object, revision: int) -> None:
        deployment = rollout.deployment
        annotations = revisions.annotations_of(deployment, new, revision, exists=True)
        seconds = deployment["spec"].get("minReadySeconds") or 0
        if annotations == objects.annotations(new) and seconds == (new["spec"].get("minReadySeconds") or 0):
            return
        changed = {
            **new,
            "metadata": {**new["metadata"], "annotations": annotations},
            "spec": {**new["spec"], "minReadySeconds": seconds},
        }
        rollout.replace(self._latest.remember(await self._client.update(_REPLICA_SETS, changed)))

    async def _create_new(self, rollout: Rollout, revision: int) -> bool:
        deployment = rollout.deployment
        collisions = (deployment.get("status") or {}).get("collisionCount")
        hashed = template_hash(deployment["spec"]["template"], collisions)
        owner = objects.owner_reference(deployment, _DEPLOYMENTS)
        new = revisions.replica_set_for(deployment, hashed, owner)
        size = rolling.new_replicas(deployment, rollout.old, 0)
        new["spec"]["replicas"] = size
        new["metadata"]["annotations"] = revisions.annotations_of(deployment, new, revision, exists=False)
        try:
            rollout.new = await self._client.create(_REPLICA_SETS, new)
        except AlreadyExists:
            return await self._collided(rollout, new)
        except StatusError as error:
            if is_namespace_terminating(error):
                return False
            await self._creation_failed(rollout, new, error)
            raise
        if size > 0:
            self._event(
                deployment, "Normal", "ScalingReplicaSet",
                f"Scaled up replica set {objects.name(new)} from 0 to {size}",
            )  # fmt: skip
        return True

    async def _collided(self, rollout: Rollout, new: Object) -> bool:
        """The name is taken: by our own ReplicaSet that the informer lacks, or by another template's hash."""
        deployment = rollout.deployment
        found = await self._client.get(_REPLICA_SETS, objects.name(new), objects.namespace(new))
        owner = objects.controller_of(found)
        is_own = owner is not None and owner.get("uid") == objects.uid(deployment)
        if is_own and revisions.same_template(found["spec"]["template"], deployment["spec"]["template"]):
            rollout.new = self._latest.remember(found)
            return True
        status = deployment.get("status") or {}
        collisions = int(status.get("collisionCount") or 0) + 1
        await self._write_status(rollout, {**status, "collisionCount": collisions})
        self.controller.enqueue(objects.key(deployment))
        return False

    async def _creation_failed(self, rollout: Rollout, new: Object, error: StatusError) -> None:
        deployment = rollout.deployment
        message = f'Failed to create new replica set "{objects.name(new)}": {error}'
        self._event(deployment, "Warning", "ReplicaSetCreateError", message)
        if progress.deadline(deployment) is None:
            return
        condition = progress.condition(
            progress.PROGRESSING, "False", "ReplicaSetCreateError", message, self._context.clock.now()
        )
        status = deployment.get("status") or {}
        conditions = progress.put(status.get("conditions") or (), condition)
        await self._write_status(rollout, {**status, "conditions": conditions})

    async def _mark(self, rollout: Rollout, found_before: bool) -> None:
        """The Deployment carries the new ReplicaSet's revision, and a first Progressing condition."""
        deployment, new = rollout.deployment, rollout.new
        if new is None:
            return
        revision = objects.annotations(new).get(revisions.REVISION, "")
        status = deployment.get("status") or {}
        known = objects.condition(deployment, progress.PROGRESSING)
        conditions = None
        if progress.deadline(deployment) is not None and (known is None or not found_before):
            reason, verb = (
                ("FoundNewReplicaSet", "Found") if found_before else ("NewReplicaSetCreated", "Created")
            )
            text = f'{verb} new replica set "{objects.name(new)}"'
            condition = progress.condition(
                progress.PROGRESSING, "True", reason, text, self._context.clock.now()
            )
            conditions = progress.put(status.get("conditions") or (), condition)
        if objects.annotations(deployment).get(revisions.REVISION) == revision and conditions is None:
            return
        # The revision is written along with the status: a change of annotations alone would be a new generation.
        annotations = {**objects.annotations(deployment), revisions.REVISION: revision}
        changed = {**deployment, "metadata": {**deployment["metadata"], "annotations": annotations}}
        if conditions is not None:
            changed["status"] = {**status, "conditions": conditions}
        written = await self._client.update_status(_DEPLOYMENTS, changed)
        rollout.deployment = self._latest.remember(written)

    # -- writes --

    async def _resize(self, rollout: Rollout, sizes: rolling.Sizes, *, renew: bool = False) -> None:
        """Sets sizes, with the annotations about the scale; ``renew`` writes those of unchanged sizes too."""
        for replica_set in rollout.everything:
            size = sizes.get(objects.name(replica_set))
            if size is None:
                continue
            await self._resize_one(rollout, replica_set, size, renew=renew)

    async def _resize_one(self, rollout: Rollout, replica_set: Object, size: int, *, renew: bool) -> None:
        before = rolling.spec_replicas(replica_set)
        annotations = {**objects.annotations(replica_set), **revisions.size_annotations(rollout.deployment)}
        if size == before and (not renew or annotations == objects.annotations(replica_set)):
            return
        changed = {
            **replica_set,
            "metadata": {**replica_set["metadata"], "annotations": annotations},
            "spec": {**replica_set["spec"], "replicas": size},
        }
        rollout.replace(self._latest.remember(await self._client.update(_REPLICA_SETS, changed)))
        if size != before:
            way = "up" if size > before else "down"
            self._event(
                rollout.deployment, "Normal", "ScalingReplicaSet",
                f"Scaled {way} replica set {objects.name(replica_set)} from {before} to {size}",
            )  # fmt: skip

    async def _clean(self, rollout: Rollout) -> None:
        for replica_set in revisions.cleanable(rollout.deployment, rollout.old):
            try:
                await self._client.delete(
                    _REPLICA_SETS, objects.name(replica_set), objects.namespace(replica_set),
                    uid=objects.uid(replica_set),
                )  # fmt: skip
            except NotFound:
                continue

    def _counts(self, rollout: Rollout) -> Object:
        """The status with fresh counts; Progressing as it was."""
        now = self._context.clock.now()
        return progress.counts(rollout.deployment, rollout.new, rollout.old, now)

    async def _report(self, rollout: Rollout) -> Result | None:
        now = self._context.clock.now()
        status = progress.rollout_status(rollout.deployment, rollout.new, rollout.old, now)
        await self._write_status(rollout, status)
        wait = progress.seconds_to_deadline(rollout.deployment, status, now)
        return None if wait is None else Result(requeue_after=wait)

    async def _write_status(self, rollout: Rollout, status: Object) -> None:
        if status == (rollout.deployment.get("status") or {}):
            return
        try:
            written = await self._client.update_status(_DEPLOYMENTS, {**rollout.deployment, "status": status})
        except NotFound:
            return
        rollout.deployment = self._latest.remember(written)

    def _event(self, deployment: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(deployment, _DEPLOYMENTS, kind, reason, message)
