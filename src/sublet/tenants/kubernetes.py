"""Tenants whose control planes are pods of a Kubernetes cluster: create, find, describe, delete.

Nothing here relies on the host cluster being sublet's own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.client.kubeconfig import ClusterAccess, load_text
from sublet.controlplane.config import Configuration
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import AlreadyExists, Conflict, Forbidden, NotFound, StatusError
from sublet.syncer import catalog
from sublet.tenants.advice import image_advice, image_problem, refusal_advice
from sublet.tenants.manifests import (
    APP,
    CONFIG_KEY,
    CREATED_ANNOTATION,
    KUBECONFIG_KEY,
    TenantError,
    TenantNames,
    check_name,
    cluster_role_name,
    default_namespace,
    manifests,
)

FIELD_MANAGER = "sublet"
Progress = Callable[[str], None]

_NAMESPACES = resource("namespaces")
_PODS = resource("pods")
_SECRETS = resource("secrets")
_SERVICES = resource("services")
_STATEFUL_SETS = resource("statefulsets.apps")
_ACCOUNTS = resource("serviceaccounts")
_EVENTS = resource("events")
_CLAIMS = resource("persistentvolumeclaims")


@dataclass(frozen=True)
class Tenant:
    """One tenant as the host shows it."""

    name: str
    namespace: str
    status: str
    version: str
    created: float
    """Unix seconds."""
    image: str
    driver: str = "kubernetes"
    """``kubernetes``: its control plane is a pod of the host; ``local``: a process of this machine."""


class Tenants:
    """The tenants of one host cluster, through its API."""

    def __init__(self, client: Client, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()

    # -- find --

    async def list(self, namespace: str = "") -> list[Tenant]:
        """All tenants the user may see: everywhere, or in the one namespace.

        What an interrupted ``create`` or ``delete`` left is listed as ``Incomplete``.
        """
        selector = f"app={APP},release"
        found = await self._client.list(_STATEFUL_SETS, namespace, label_selector=selector)
        pods = await self._client.list(_PODS, namespace, label_selector=selector)
        tenants = [_tenant(workload, pods["items"]) for workload in found["items"]]
        whole = {(tenant.name, tenant.namespace) for tenant in tenants}
        accounts = await self._client.list(_ACCOUNTS, namespace, label_selector=selector)
        return tenants + [
            tenant
            for tenant in map(_incomplete, accounts["items"])
            if tenant is not None and (tenant.name, tenant.namespace) not in whole
        ]

    async def find(self, name: str, namespace: str = "") -> Tenant:
        """The tenant of this name. Raises :class:`TenantError` when there is none, or several.

        Who may not look into every namespace finds it in the one that ``create`` chooses by itself.
        """
        try:
            found = await self.list(namespace)
        except Forbidden as error:
            if namespace:
                raise
            try:
                found = await self.list(default_namespace(name))
            except Forbidden:
                raise TenantError(
                    f"which namespace tenant {name} is in must be said with --namespace: {error.message}"
                ) from None
        matches = [tenant for tenant in found if tenant.name == name]
        if not matches:
            where = f" in namespace {namespace}" if namespace else ""
            raise TenantError(f"couldn't find tenant {name}{where}; `sublet list` shows what there is")
        if len(matches) > 1:
            listed = ", ".join(tenant.namespace for tenant in matches)
            raise TenantError(
                f"multiple tenants with name {name} found (namespaces {listed}), "
                "please specify a namespace via --namespace to select the correct one"
            )
        return matches[0]

    async def configuration(self, tenant: Tenant) -> str:
        """The user's part of the tenant's configuration, as it was given."""
        secret = await self._client.get(_SECRETS, TenantNames(tenant.name).config_secret, tenant.namespace)
        return base64.b64decode((secret.get("data") or {}).get(CONFIG_KEY, "")).decode()

    # -- create --

    async def create(
        self,
        name: str,
        namespace: str,
        configuration: Configuration,
        config_yaml: str,
        image: str,
        *,
        create_namespace: bool = True,
        upgrade: bool = False,
        timeout: float = 300.0,
        progress: Progress = lambda _step: None,
    ) -> Tenant:
        """Applies everything and waits until the tenant's API answers. Safe to repeat after an interruption.

        Raises :class:`TenantError` for what the user must decide, ``StatusError`` for what the host refuses.
        """
        check_name(name)
        await self._check_host(configuration)
        await self.prepare(
            name, namespace, configuration, config_yaml, image,
            create_namespace=create_namespace, upgrade=upgrade, progress=progress,
        )  # fmt: skip
        progress("waiting for the control plane")
        await self._wait_ready(name, namespace, image, timeout, progress)
        return await self.find(name, namespace)

    async def prepare(
        self,
        name: str,
        namespace: str,
        configuration: Configuration,
        config_yaml: str,
        image: str,
        *,
        create_namespace: bool = True,
        upgrade: bool = False,
        progress: Progress = lambda _step: None,
    ) -> None:
        """Applies a tenant's host objects; without an image all but the pod that would run it."""
        await self._ensure_namespace(name, namespace, create_namespace, progress)
        await self._check_free(name, namespace, upgrade)
        sync = catalog.settings(configuration.sync)
        wanted = manifests(
            name, namespace, configuration, config_yaml, image,
            catalog.host_rules(sync), catalog.cluster_rules(sync),
        )  # fmt: skip
        if not image:
            wanted = [obj for obj in wanted if obj["kind"] != "StatefulSet"]
        progress(f"applying {len(wanted)} objects in namespace {namespace}")
        for obj in wanted:
            await self._apply(obj)

    async def _ensure_namespace(self, name: str, namespace: str, create: bool, progress: Progress) -> None:
        deadline = self._clock.monotonic() + 60
        while True:
            try:
                found = await self._client.get(_NAMESPACES, namespace)
            except Forbidden:
                return  # who has rights in one namespace only may not read the namespace itself
            except NotFound:
                if not create:
                    raise TenantError(
                        f"namespace {namespace} does not exist and --create-namespace is off"
                    ) from None
                await self._create_namespace(name, namespace)
                continue
            if not objects.is_deleting(found):
                return
            if self._clock.monotonic() > deadline:
                raise TenantError(
                    f"namespace {namespace} has been terminating for over a minute; "
                    f"kubectl describe namespace {namespace} says what holds it"
                )
            progress(f"waiting for the old namespace {namespace} to go")
            await asyncio.sleep(0.5)

    async def _create_namespace(self, name: str, namespace: str) -> None:
        obj = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "annotations": {CREATED_ANNOTATION: name}},
        }
        try:
            await self._client.create(_NAMESPACES, obj)
        except AlreadyExists:
            return
        except Forbidden as error:
            raise TenantError(
                f"namespace {namespace} does not exist and may not be made ({error.message}); "
                "have it made, or name one that is there with --namespace"
            ) from None

    async def _check_free(self, name: str, namespace: str, upgrade: bool) -> None:
        for other in await self.list(namespace):
            if other.name != name:
                raise TenantError(
                    f"there is already a tenant cluster in namespace {namespace} ({other.name}); creating "
                    "multiple tenant clusters inside the same namespace is not supported: choose another --namespace"
                )
            if not upgrade and other.status == "Running":
                raise TenantError(
                    f"tenant {name} already exists in namespace {namespace}\n"
                    f"- Use `sublet create {name} --namespace {namespace} --upgrade` to change it\n"
                    f"- Use `sublet connect {name} --namespace {namespace}` to access it"
                )

    async def _check_host(self, configuration: Configuration) -> None:
        claim = configuration.control_plane.stateful_set.persistence.volume_claim
        if claim.enabled is False or claim.storage_class:
            return
        try:
            classes = await self._client.list(resource("storageclasses.storage.k8s.io"))
        except Forbidden:
            return  # who may not read classes cannot be told more than the pending claim will say
        if not any(
            objects.annotations(found).get(f"storageclass{beta}.kubernetes.io/is-default-class") == "true"
            for found in classes["items"]
            for beta in ("", ".beta")
        ):
            raise TenantError(
                "the host cluster has no default StorageClass for the tenant's data; name one with "
                "--set controlPlane.statefulSet.persistence.volumeClaim.storageClass=NAME, or keep the data in the "
                "pod (it is lost with it): --set controlPlane.statefulSet.persistence.volumeClaim.enabled=false"
            )

    async def _apply(self, obj: Object) -> None:
        metadata = obj["metadata"]
        where = _resource_of(obj)
        await self._client.patch(
            where, metadata["name"], obj, metadata.get("namespace", ""),
            kind="apply", field_manager=FIELD_MANAGER, force=True,
        )  # fmt: skip

    async def _wait_ready(
        self, name: str, namespace: str, image: str, timeout: float, progress: Progress
    ) -> None:
        made = TenantNames(name)
        deadline = self._clock.monotonic() + timeout
        said = ""
        while True:
            pod = await self._pod(made.pod, namespace)
            problem = image_problem(pod)
            if problem:
                raise TenantError(image_advice(pod, image, problem))
            if pod is None and (refusal := await self._refusal(name, namespace)):
                raise TenantError(refusal_advice(made.pod, namespace, refusal))
            state = _pod_status(pod) if pod else "Pending"
            if state == "Running" and await self._kubeconfig_text(name, namespace):
                return
            if state != said:
                progress(f"pod {made.pod}: {state}")
                said = state
            if self._clock.monotonic() > deadline:
                raise TenantError(
                    f"the control plane of {name} is not ready after {timeout:.0f} s (pod {made.pod}: {state}); "
                    f"kubectl -n {namespace} describe pod {made.pod} and kubectl -n {namespace} logs {made.pod} "
                    "say why. Run the same command again to go on waiting."
                )
            await asyncio.sleep(0.2)

    async def _refusal(self, name: str, namespace: str) -> str:
        """Why the host does not let the StatefulSet make its pod: pod security, quotas, webhooks."""
        workload = await self._client.get(_STATEFUL_SETS, name, namespace)
        of_this = f"involvedObject.uid={workload['metadata']['uid']},reason=FailedCreate"
        try:
            events = await self._client.list(_EVENTS, namespace, field_selector=of_this)
        except Forbidden:
            return ""
        told = [str(event.get("message", "")) for event in events["items"]]
        return next((text for text in told if "forbidden" in text or "denied" in text), "")

    async def _pod(self, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(_PODS, name, namespace)
        except NotFound:
            return None

    # -- connect --

    async def access(self, tenant: Tenant) -> ClusterAccess:
        """The administrator's access to the tenant, as its control plane wrote it. Raises :class:`TenantError`."""
        text = await self._kubeconfig_text(tenant.name, tenant.namespace)
        if not text:
            raise TenantError(
                f"tenant {tenant.name} has not written its kubeconfig yet (status {tenant.status}); try again soon"
            )
        return load_text(text)

    async def _kubeconfig_text(self, name: str, namespace: str) -> str:
        try:
            secret = await self._client.get(_SECRETS, TenantNames(name).kubeconfig_secret, namespace)
        except NotFound:
            return ""
        return base64.b64decode((secret.get("data") or {}).get(KUBECONFIG_KEY, "")).decode()

    async def service(self, tenant: Tenant) -> Object:
        return await self._client.get(_SERVICES, tenant.name, tenant.namespace)

    # -- delete --

    async def delete(
        self,
        name: str,
        namespace: str,
        *,
        keep_pvc: bool = False,
        delete_namespace: bool | None = None,
        grace: int = 1,
        timeout: float = 120.0,
        progress: Progress = lambda _step: None,
    ) -> bool:
        """Removes the tenant and everything it synced; returns whether its namespace went too.

        ``delete_namespace`` None: only when ``create`` made it. ``grace`` is what workloads get, in seconds.
        """
        made = TenantNames(name)
        own = f"app={APP},release={name}"
        synced = f"{catalog.MARKER_LABEL}={name}"
        progress("stopping the control plane")
        await self._gone(self._client.delete(_STATEFUL_SETS, name, namespace, propagation="Background"))
        await self._remove_all(_PODS, namespace, own, grace)
        progress("removing its workloads")
        await self._remove_all(_PODS, namespace, synced, grace)
        for kind in catalog.host_resources():
            if kind.namespaced:
                await self._remove_all(kind, namespace, synced)
        # The Service owns every synced object. It goes after them: else the host's garbage collector deletes each of
        # them too, one by one, at the same time.
        await self._gone(self._client.delete(_SERVICES, name, namespace, propagation="Background"))
        for kind in _own_resources(keep_pvc):
            await self._remove_all(kind, namespace, own)
        await self._gone(self._client.delete(_SECRETS, made.kubeconfig_secret, namespace))
        for plural in ("clusterrolebindings", "clusterroles"):
            where = resource(f"{plural}.rbac.authorization.k8s.io")
            with contextlib.suppress(Forbidden):
                await self._gone(self._client.delete(where, cluster_role_name(name, namespace)))
        removed = await self._delete_namespace(name, namespace, delete_namespace, progress)
        await self._wait_gone(name, namespace, removed, keep_pvc, timeout)
        return removed

    async def _gone(self, deletion: Any) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await deletion

    async def _remove_all(
        self, kind: Resource, namespace: str, selector: str, grace: int | None = None
    ) -> None:
        """One by one where the kind has no deletecollection (services on old clusters) or it is not allowed."""
        try:
            await self._client.delete_collection(kind, namespace, label_selector=selector, grace=grace)
        except StatusError as error:
            if error.code not in (403, 404, 405):
                raise
            with contextlib.suppress(NotFound, Forbidden):
                found = await self._client.list(kind, namespace, label_selector=selector)
                for obj in found["items"]:
                    await self._gone(self._client.delete(kind, objects.name(obj), namespace, grace=grace))

    async def _delete_namespace(
        self, name: str, namespace: str, wanted: bool | None, progress: Progress
    ) -> bool:
        try:
            found = await self._client.get(_NAMESPACES, namespace)
        except (NotFound, Forbidden):
            return False
        if wanted is None:
            wanted = objects.annotations(found).get(CREATED_ANNOTATION) == name
        if not wanted:
            return False
        others = [tenant.name for tenant in await self.list(namespace) if tenant.name != name]
        if others:
            raise TenantError(f"namespace {namespace} is kept: tenant {', '.join(others)} still lives in it")
        progress(f"removing namespace {namespace}")
        try:
            await self._gone(self._client.delete(_NAMESPACES, namespace))
        except Forbidden as error:
            progress(f"namespace {namespace} stays: {error.message}")
            return False
        return True

    async def _wait_gone(
        self, name: str, namespace: str, whole_namespace: bool, keep_pvc: bool, timeout: float
    ) -> None:
        deadline = self._clock.monotonic() + timeout
        while self._clock.monotonic() < deadline:
            if whole_namespace:
                try:
                    await self._client.get(_NAMESPACES, namespace)
                except NotFound:
                    return
            else:
                left = [
                    await self._client.list(_PODS, namespace, label_selector=selector)
                    for selector in (f"app={APP},release={name}", f"{catalog.MARKER_LABEL}={name}")
                ]
                if not any(found["items"] for found in left):
                    return
            await asyncio.sleep(0.1)
        what = f"namespace {namespace}" if whole_namespace else f"the pods of {name}"
        raise TenantError(
            f"{what} is still there after {timeout:.0f} s; the host cluster goes on removing it"
        )


def _own_resources(keep_pvc: bool) -> Sequence[Resource]:
    """Accounts are last: by them an interrupted deletion is found again."""
    found = [
        "services",
        "secrets",
        "roles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
    ]
    return [*([] if keep_pvc else [_CLAIMS]), *(resource(name) for name in found), _ACCOUNTS]


def _resource_of(obj: Object) -> Resource:
    plural = {"StatefulSet": "statefulsets"}.get(obj["kind"], obj["kind"].lower() + "s")
    group = obj["apiVersion"].rpartition("/")[0]
    return resource(f"{plural}.{group}" if group else plural)


def _tenant(workload: Object, pods: list[Object]) -> Tenant:
    name = objects.labels(workload)["release"]
    namespace = objects.namespace(workload)
    return Tenant(
        name=name,
        namespace=namespace,
        status=_status(workload, [p for p in pods if objects.namespace(p) == namespace
                                  and objects.labels(p).get("release") == name]),
        version=objects.labels(workload).get("app.kubernetes.io/version", ""),
        created=objects.parse_time(workload["metadata"]["creationTimestamp"]),
        image=str(workload["spec"]["template"]["spec"]["containers"][0].get("image", "")),
    )  # fmt: skip


def _incomplete(account: Object) -> Tenant | None:
    """A tenant of which a ServiceAccount is there, but no StatefulSet; None for its second account."""
    name = objects.labels(account)["release"]
    if objects.name(account) != TenantNames(name).service_account:
        return None
    return Tenant(
        name=name,
        namespace=objects.namespace(account),
        status="Incomplete",
        version=objects.labels(account).get("app.kubernetes.io/version", ""),
        created=objects.parse_time(account["metadata"]["creationTimestamp"]),
        image="",
    )


def _status(workload: Object, pods: list[Object]) -> str:
    if objects.is_deleting(workload):
        return "Terminating"
    if (workload.get("spec") or {}).get("replicas") == 0:
        return "ScaledDown"
    states = [_pod_status(pod) for pod in pods]
    return "Running" if "Running" in states else next(iter(states), "Pending")


def _pod_status(pod: Object) -> str:
    """Running once ready; else the most telling reason, as ``kubectl get pods`` shows it."""
    if objects.is_deleting(pod):
        return "Terminating"
    if objects.is_true(pod, "Ready"):
        return "Running"
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        state = status.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                return str(reason)
        if "running" in state:
            return "Starting"
    return str((pod.get("status") or {}).get("phase") or "Pending")
