"""ttl-after-finished-controller: deletes finished Jobs ``ttlSecondsAfterFinished`` after their end."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

_JOBS = resource("jobs.batch")


def expires_in(job: Object, now: float) -> float | None:
    """Seconds until the job may go; None where it has no time to live or has not finished."""
    ttl = (job.get("spec") or {}).get("ttlSecondsAfterFinished")
    if ttl is None:
        return None
    for kind in ("Complete", "Failed"):
        condition = objects.condition(job, kind)
        if condition is not None and condition.get("status") == "True":
            return objects.since(condition) + int(ttl) - now
    return None


def setup(context: Context) -> Controller:
    jobs = context.informers.informer(_JOBS)

    async def reconcile(key: str) -> Result | None:
        job = jobs.get(*objects.split_key(key))
        if job is None or objects.is_deleting(job):
            return None
        left = expires_in(job, context.clock.now())
        if left is None:
            return None
        if left > 0:
            return Result(requeue_after=left)
        try:
            live = await context.client.get(_JOBS, objects.name(job), objects.namespace(job))
            if objects.uid(live) != objects.uid(job):
                return None
            left = expires_in(live, context.clock.now())
            if left is None or left > 0:
                return None  # the time to live was changed: that brings an event
            await context.client.delete(
                _JOBS,
                objects.name(job),
                objects.namespace(job),
                propagation="Foreground",
                uid=objects.uid(job),
            )
        except NotFound:
            return None
        return None

    controller = Controller("ttl-after-finished-controller", reconcile)
    jobs.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration("ttl-after-finished-controller", setup)
