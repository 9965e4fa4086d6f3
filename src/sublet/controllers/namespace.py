"""namespace-controller: empties namespaces that are being deleted, pods first, then lets them go.

Pods go before everything else so that what runs keeps its network policies, secrets and claims to the end.
Source: reference/kubernetes-api.md B.10 and C.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import MethodNotAllowed, NotFound, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.discovery import Discovery, discover
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result
from sublet.reconcile.workloads import set_condition

_NAMESPACES = resource("namespaces")
_PODS = resource("pods")
_FINALIZER = "kubernetes"
_PAGE = 500
_LOOK_AGAIN = 1.0
"""Seconds to the next look at what remains (pods tell themselves when they are gone); doubles up to 15."""


@dataclass
class Remains:
    """What was found in a namespace after its content was told to go."""

    counts: dict[str, int] = field(default_factory=dict)
    """``PLURAL.GROUP`` (with the dot in the core group too) -> objects that remain."""
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    undiscovered: Sequence[str] = ()

    @property
    def empty(self) -> bool:
        return not self.counts and not self.failures and not self.undiscovered

    def add(self, each: Resource, left: Sequence[Object]) -> None:
        if left:
            self.counts[f"{each.plural}.{each.group}"] = len(left)
        for obj in left:
            self.finalizers.update(objects.finalizers(obj))


_FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": (
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}
"""Deletion condition -> reason and message while it is False."""


def problems(remains: Remains) -> dict[str, tuple[str, str]]:
    """Deletion condition that is True -> reason and message."""
    found = {}
    if remains.undiscovered:
        stale = (f"{version}: stale GroupVersion discovery: {version}" for version in remains.undiscovered)
        text = f"unable to retrieve the complete list of server APIs: {', '.join(stale)}"
        text = f"Discovery failed for some groups, {len(remains.undiscovered)} failing: {text}"
        found["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", text)
    if remains.failures:
        text = f"{len(remains.failures)} remaining: {', '.join(sorted(remains.failures))}"
        text = f"Failed to delete all resource types, {text}"
        found["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", text)
    if remains.counts:
        listed = (f"{name} has {n} resource instances" for name, n in sorted(remains.counts.items()))
        text = f"Some resources are remaining: {', '.join(listed)}"
        found["NamespaceContentRemaining"] = ("SomeResourcesRemain", text)
    if remains.finalizers:
        listed = (f"{name} in {n} resource instances" for name, n in sorted(remains.finalizers.items()))
        text = f"Some content in the namespace has finalizers remaining: {', '.join(listed)}"
        found["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", text)
    return found


def conditions(remains: Remains, old: Sequence[Object], now: float) -> list[Object]:
    """The namespace's conditions with its five deletion conditions as they should be."""
    bad = problems(remains)
    result = list(old)
    for kind, fine in _FINE.items():
        reason, message = bad.get(kind, fine)
        new = {
            "type": kind,
            "status": "True" if kind in bad else "False",
            "lastTransitionTime": objects.rfc3339(now),
            "reason": reason,
            "message": message,
        }
        result = set_condition(result, new)
    return result


def deletable(discovery: Discovery) -> list[Resource]:
    """The namespaced resources whose objects can be deleted, pods at the front."""
    found = [each for each in discovery.with_verbs("delete") if each.namespaced]
    return sorted(found, key=lambda each: each.qualified != "pods")


class NamespaceReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informers.informer(_NAMESPACES)
        self._pods = context.informers.informer(_PODS)
        self._latest = Latest()
        self._looks: Counter[str] = Counter()
        self._verbs: Mapping[str, frozenset[str]] = {}
        self.controller = Controller("namespace-controller", self.reconcile, workers=10)
        self._namespaces.add_handler(self._on_namespace)
        self._pods.add_handler(self._on_pod)

    def _on_namespace(self, event: str, namespace: Object, _old: Object | None) -> None:
        name = objects.name(namespace)
        if event == "delete":
            self._latest.forget(objects.uid(namespace))
            self._looks.pop(name, None)
        elif objects.is_deleting(namespace):
            self.controller.enqueue(name)

    def _on_pod(self, event: str, pod: Object, _old: Object | None) -> None:
        """The last pod of a dying namespace is gone: go on at once instead of looking again later."""
        if event != "delete":
            return
        name = objects.namespace(pod)
        namespace = self._namespaces.get("", name)
        if namespace is not None and objects.is_deleting(namespace) and not self._pods.list(name):
            self._looks.pop(name, None)
            self.controller.enqueue(name)

    async def reconcile(self, name: str) -> Result | None:
        cached = self._namespaces.get("", name)
        if cached is None or not objects.is_deleting(cached):
            return None
        namespace = self._latest.of(cached)
        if not (namespace.get("spec") or {}).get("finalizers"):
            return None
        if (namespace.get("status") or {}).get("phase") != "Terminating":
            namespace = await self._write(
                namespace, {**(namespace.get("status") or {}), "phase": "Terminating"}
            )
        remains = await self._empty(name)
        if remains.empty:
            await self._finalize(namespace)
            self._looks.pop(name, None)
            return None
        old = (namespace.get("status") or {}).get("conditions") or ()
        new = conditions(remains, old, self._context.clock.now())
        if new != list(old):
            await self._write(namespace, {**(namespace.get("status") or {}), "conditions": new})
        self._looks[name] += 1
        return Result(requeue_after=min(15.0, _LOOK_AGAIN * 2 ** min(self._looks[name] - 1, 4)))

    async def _write(self, namespace: Object, status: Object) -> Object:
        written = await self._context.client.update_status(_NAMESPACES, {**namespace, "status": status})
        return self._latest.remember(written)

    async def _finalize(self, namespace: Object) -> None:
        spec = namespace.get("spec") or {}
        kept = [finalizer for finalizer in spec.get("finalizers") or () if finalizer != _FINALIZER]
        try:
            await self._context.client.update(
                _NAMESPACES, {**namespace, "spec": {**spec, "finalizers": kept}}, subresource="finalize"
            )
        except NotFound:
            return

    async def _empty(self, name: str) -> Remains:
        """Tells everything in the namespace to go; pods alone as long as there are any."""
        discovery = await discover(self._context.client)
        self._verbs = {found.resource.qualified: found.verbs for found in discovery.resources}
        remains = Remains(undiscovered=discovery.failed)
        for each in deletable(discovery):
            try:
                await self._delete_all(each, name, remains)
            except NotFound:
                continue  # the resource itself was removed meanwhile
            except StatusError as error:
                remains.failures.append(f"{each.qualified}: {error}")
            if each.qualified == "pods" and ("pods." in remains.counts or remains.failures):
                # Everything else waits for them, so what keeps them is a failure of the whole deletion.
                kept = ", ".join(sorted(remains.finalizers))
                remains.failures += [f"pods: kept by the finalizers {kept}"] if kept else []
                break
        return remains

    async def _delete_all(self, each: Resource, name: str, remains: Remains) -> None:
        if each == _PODS and (going := self._going_pods(name)):
            remains.add(each, going)
            return
        verbs = self._verbs[each.qualified]
        client = self._context.client
        if "list" not in verbs:
            if "deletecollection" in verbs:
                await client.delete_collection(each, name, propagation="Background")
            return
        page = await client.list(each, name, limit=1)
        if not page["items"]:
            return
        try:
            if "deletecollection" not in verbs:
                raise MethodNotAllowed("deletecollection")
            await client.delete_collection(each, name, propagation="Background")
        except MethodNotAllowed:
            for obj in await self._list(each, name):
                await self._delete_one(each, obj)
        remains.add(each, await self._list(each, name))

    def _going_pods(self, name: str) -> list[Object]:
        """The namespace's pods, once all that are known were told to go: telling thousands again costs seconds."""
        pods = self._pods.list(name)
        return pods if all(map(objects.is_deleting, pods)) else []

    async def _delete_one(self, each: Resource, obj: Object) -> None:
        try:
            await self._context.client.delete(
                each, objects.name(obj), objects.namespace(obj), propagation="Background"
            )
        except NotFound:
            return

    async def _list(self, each: Resource, name: str) -> list[Object]:
        found: list[Object] = []
        token = ""
        while True:
            page = await self._context.client.list(each, name, limit=_PAGE, continue_token=token)
            found += page["items"]
            await asyncio.sleep(0)  # a client in this process answers without a pause
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found


def setup(context: Context) -> Controller:
    return NamespaceReconciler(context).controller


CONTROLLER = Registration("namespace-controller", setup)
