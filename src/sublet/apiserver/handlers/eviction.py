"""POST of an Eviction: a deletion that disruption budgets may refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sublet.apiserver import decoding, negotiation, objectmeta, preconditions
from sublet.apiserver.admission.besides import admit_created
from sublet.apiserver.calls import status_view, warnings
from sublet.apiserver.deletion import DeleteOptions
from sublet.apiserver.negotiation import accept
from sublet.apiserver.options import WriteOptions, parse_delete_options, write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.writing import Write
from sublet.client.exchange import Request, Response
from sublet.kinds import schemas
from sublet.machinery import objects, selectors
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import (
    BadRequest,
    Cause,
    Conflict,
    NotFound,
    TooManyRequests,
    Unauthorized,
    forbidden,
    not_found,
)

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

EVICTION = Resource("policy", "v1", "evictions", "Eviction", True)
_BUDGETS = ("policy", "poddisruptionbudgets")
_SINGULAR = ("policy", "poddisruptionbudget")
_RETRY_SECONDS = 10
_MOST_DISRUPTED = 2000
_TRIES = 20
_GENERATIONS = "PodObservedGenerationTracking"
_GONE_ALREADY = ("Succeeded", "Failed")


_SEVERAL = {
    "status": "Failure",
    "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    "code": 500,
}
"""Upstream answers this failure as what was created: the answer's own code is 201."""


class _SeveralBudgets(Exception):
    """Nobody can say which of a pod's budgets to take a disruption from."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """Success once the pod is deleted or marked; 429 where its budget allows no disruption now."""
    pods = api.kinds.stored("", "pods")
    if pods is None or request.user is None:
        raise NotFound("pods are not served") if pods is None else Unauthorized()
    options = write_options(request, info, "CreateOptions")
    schema = schemas.definition(api.settings.minor, "policy", "v1", "Eviction")
    eviction = decoding.decode(request, _version(request), schema, options.validation, warnings(request))
    objectmeta.place(eviction, pods, info.namespace)
    if objects.name(eviction) != info.name:
        raise BadRequest("name in URL does not match name in Eviction object")
    await admit_created(request, info, api, eviction, options)
    delete = parse_delete_options(eviction.get("deleteOptions") or {})
    delete = replace(delete, dry_run=delete.dry_run or options.dry_run)
    write = Write(
        request.user, pods.resource, WriteOptions(dry_run=delete.dry_run), "eviction", admitted=True
    )
    told: Object = {"status": "Success", "code": 201}
    try:
        await _evict(api, pods, info, delete, write)
    except _SeveralBudgets:
        told = _SEVERAL
    accepted = status_view(accept(request, info))
    return negotiation.respond({"kind": "Status", "apiVersion": "v1", "metadata": {}, **told}, accepted, 201)


async def _evict(api: APIServer, pods: Kind, info: RequestInfo, options: DeleteOptions, write: Write) -> None:
    """Deletes the pod, once for all if no budget needs to be asked. Raises what speaks against it.

    What decides is what the pod is now: it must not have become one that counts before it goes.
    """
    for left in reversed(range(_TRIES)):
        pod = await _pod(api, pods, info)
        if not _needs_no_budget(pod):
            break
        over = objects.is_deleting(pod) or (pod.get("status") or {}).get("phase") in _GONE_ALREADY
        try:
            await _remove(
                api,
                pods,
                info,
                options if options.resource_version or over else _as_it_is(options, pod),
                write,
            )
        except Conflict:
            if options.resource_version or not left:
                raise
        else:
            return
    budget = await _ask_budget(api, pod, options.dry_run)
    try:
        await _remove(api, pods, info, _as_it_is(options, pod) if budget else options, write)
    except Conflict:
        if budget and not options.resource_version:
            raise _unsettled(budget) from None
        raise


async def _pod(api: APIServer, pods: Kind, info: RequestInfo) -> Object:
    entry = await api.registry.entry(pods, info.namespace, info.name)
    if entry is None:
        raise not_found("", "pods", info.name)
    found: Object = entry.object
    return found


def _as_it_is(options: DeleteOptions, pod: Object) -> DeleteOptions:
    return replace(options, resource_version=pod["metadata"]["resourceVersion"])


def _version(request: Request) -> Resource:
    """The old policy/v1beta1 says the same and is taken as v1."""
    if b"policy/v1beta1" in request.body[:400]:
        return replace(EVICTION, version="v1beta1")
    return EVICTION


def _needs_no_budget(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in (*_GONE_ALREADY, "Pending") or objects.is_deleting(pod)


async def _ask_budget(api: APIServer, pod: Object, dry_run: bool) -> str:
    """Takes one disruption from the pod's budget. Raises ``TooManyRequests`` where there is none.

    The name of a budget that lets the pod go as it is not healthy, so that nothing is taken.
    """
    namespace = objects.namespace(pod)
    budgets = [
        budget
        for budget in await api.reader.list(*_BUDGETS, namespace)
        if selectors.from_label_selector((budget.get("spec") or {}).get("selector")).matches(
            objects.labels(pod)
        )
    ]
    if not budgets:
        return ""
    if len(budgets) > 1:
        raise _SeveralBudgets
    budget = budgets[0]
    policy = (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") or "IfHealthyBudget"
    if not objects.is_true(pod, "Ready"):
        status = budget.get("status") or {}
        enough = int(status.get("currentHealthy") or 0) >= int(status.get("desiredHealthy") or 0) > 0
        if policy == "AlwaysAllow" or enough:
            return objects.name(budget)
    now = objects.rfc3339(api.clock.now())

    def take(obj: Object) -> bool:
        _check(obj)
        if dry_run:
            return False
        status = obj["status"]
        status["disruptionsAllowed"] = int(status.get("disruptionsAllowed") or 0) - 1
        if not status["disruptionsAllowed"]:
            used_up: Object = {
                "type": "DisruptionAllowed",
                "status": "False",
                "reason": "InsufficientPods",
                "message": "",
            }
            _set_condition(
                status, {**used_up, "observedGeneration": status.get("observedGeneration") or 0}, now
            )
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), objects.name(pod): now}
        return True

    await api.reader.update(*_BUDGETS, namespace, objects.name(budget), take, "status")
    return ""


def _check(budget: Object) -> None:
    status = budget.get("status") or {}
    generation = int(budget["metadata"].get("generation") or 0)
    if int(status.get("observedGeneration") or 0) < generation:
        raise _unsettled(objects.name(budget))
    if int(status.get("disruptionsAllowed") or 0) < 0:
        raise forbidden(*_SINGULAR, objects.name(budget), "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or ()) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden(*_SINGULAR, objects.name(budget), why)
    if int(status.get("disruptionsAllowed") or 0) <= 0:
        allowed = objects.condition(budget, "DisruptionAllowed") or {}
        if allowed.get("status") == "False" and allowed.get("reason") == "SyncFailed":
            raise _refused(
                f"The disruption budget {objects.name(budget)} does not allow evicting pods currently because it failed "
                f"sync: {allowed.get('message', '')}"
            )
        raise _refused(
            f"The disruption budget {objects.name(budget)} needs {status.get('desiredHealthy', 0)} healthy pods "
            f"and has {status.get('currentHealthy', 0)} currently"
        )


def _unsettled(budget: str) -> TooManyRequests:
    return _refused(f"The disruption budget {budget} is still being processed by the server.", _RETRY_SECONDS)


def _refused(why: str, retry_after: int = 0) -> TooManyRequests:
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        causes=[Cause("DisruptionBudget", why)],
        retry_after=retry_after,
    )


async def _remove(
    api: APIServer, pods: Kind, info: RequestInfo, options: DeleteOptions, write: Write
) -> None:
    """Says on the pod why it goes, and deletes it."""
    if not options.dry_run:
        marked = await _mark(api, pods, info, options)
        options = replace(options, uid=objects.uid(marked))
        if options.resource_version:
            options = _as_it_is(options, marked)
    await api.registry.delete(pods, info.namespace, info.name, options, write)


async def _mark(api: APIServer, pods: Kind, info: RequestInfo, options: DeleteOptions) -> Object:
    now = objects.rfc3339(api.clock.now())
    condition = {
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": None,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    }  # fmt: skip

    def edit(obj: Object) -> bool:
        preconditions.check_delete(pods, obj, options)
        generation = obj["metadata"].get("generation") if api.features.enabled(_GENERATIONS) else None
        stated = {**condition, "observedGeneration": generation} if generation else condition
        return _set_condition(obj.setdefault("status", {}), stated, now)

    marked = await api.registry.change(pods, info.namespace, info.name, edit)
    if marked is None:
        raise not_found("", "pods", info.name)
    return marked


def _set_condition(status: Object, stated: Object, now: str) -> bool:
    """Sets a condition, whose time stays while its status does; whether that changed anything."""
    conditions: list[Object] = list(status.get("conditions") or ())
    status["conditions"] = conditions
    for place, old in enumerate(conditions):
        if old.get("type") == stated["type"]:
            stays = old.get("status") == stated["status"] and old.get("lastTransitionTime")
            conditions[place] = {**stated, "lastTransitionTime": stays or now}
            return conditions[place] != old
    conditions.append({**stated, "lastTransitionTime": now})
    return True
