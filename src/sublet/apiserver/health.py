"""The health checks of an API server, by upstream's names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from sublet.apiserver.metrics import heading

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

ENDPOINTS = ("healthz", "livez", "readyz")
_SECONDS = 10.0
_SILENT_SECONDS = 120.0
"""How long the loop may be stuck before ``log`` fails."""

Check = Callable[[], Awaitable[object]]

# Steps of the start, in their order; the checks ``poststarthook/…`` say which have been taken.
CACHES, NAMESPACES, CUSTOM, OBJECTS, ROLES, ADMISSION, FLOW, AGGREGATION, DUTIES = range(9)

HOOKS: Mapping[str, int] = {
    "poststarthook/start-apiserver-admission-initializer": ADMISSION,
    "poststarthook/generic-apiserver-start-informers": CACHES,
    "poststarthook/priority-and-fairness-config-consumer": FLOW,
    "poststarthook/priority-and-fairness-filter": FLOW,
    "poststarthook/storage-object-count-tracker-hook": CACHES,
    "poststarthook/storage-readiness": CACHES,
    "poststarthook/start-apiextensions-informers": CUSTOM,
    "poststarthook/start-apiextensions-controllers": CUSTOM,
    "poststarthook/crd-informer-synced": CUSTOM,
    "poststarthook/start-system-namespaces-controller": NAMESPACES,
    "poststarthook/start-cluster-authentication-info-controller": OBJECTS,
    "poststarthook/start-kube-apiserver-identity-lease-controller": DUTIES,
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector": DUTIES,
    "poststarthook/start-legacy-token-tracking-controller": OBJECTS,
    "poststarthook/start-service-ip-repair-controllers": DUTIES,
    "poststarthook/rbac/bootstrap-roles": ROLES,
    "poststarthook/scheduling/bootstrap-system-priority-classes": OBJECTS,
    "poststarthook/priority-and-fairness-config-producer": OBJECTS,
    "poststarthook/bootstrap-controller": OBJECTS,
    "poststarthook/start-kubernetes-service-cidr-controller": OBJECTS,
    "poststarthook/aggregator-reload-proxy-client-cert": AGGREGATION,
    "poststarthook/start-kube-aggregator-informers": AGGREGATION,
    "poststarthook/apiservice-status-local-available-controller": AGGREGATION,
    "poststarthook/apiservice-status-remote-available-controller": AGGREGATION,
    "poststarthook/apiservice-registration-controller": AGGREGATION,
    "poststarthook/apiservice-discovery-controller": AGGREGATION,
    "poststarthook/kube-apiserver-autoregistration": AGGREGATION,
    "autoregister-completion": AGGREGATION,
    "poststarthook/apiservice-openapi-controller": AGGREGATION,
    "poststarthook/apiservice-openapiv3-controller": AGGREGATION,
}
"""Upstream's names, and the step of our start that does what each stands for."""
SINCE: Mapping[str, str] = {
    "poststarthook/start-kubernetes-service-cidr-controller": "MultiCIDRServiceAllocator",
    "poststarthook/storage-readiness": "WatchCacheInitializationPostStartHook",
}
"""The features without which upstream has none of the name."""


class Unhealthy(Exception):
    """A check failed; why."""


class Health:
    """The checks of one API server. ``reached`` holds the steps of its start that are done."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self.reached: set[int] = set()
        self.shutting_down = False
        self.parts: dict[str, Check] = {"etcd-0": api.store.current_revision}
        """The control plane's parts, by upstream's names, as far as this server was told of them."""
        self._counts: dict[tuple[str, str, str], int] = {}
        self._latest: dict[tuple[str, str], bool] = {}

    def checks(self, endpoint: str) -> dict[str, Check]:
        """Name -> what raises when it is not well; ``etcd`` is the data store."""
        api = self._api
        found: dict[str, Check] = {
            "ping": _nothing,
            "log": self._loop_runs,
            "etcd": api.store.current_revision,
        }
        if endpoint == "readyz":
            found["etcd-readiness"] = api.store.current_revision
            found["informer-sync"] = api.caches.ready
        for name, step in HOOKS.items():
            since = SINCE.get(name)
            if (step != FLOW or api.flow_control is not None) and (
                since is None or api.features.enabled(since)
            ):
                found[name] = self._hook(step)
        found |= self._key_services()
        if endpoint == "readyz":
            found["shutdown"] = self._not_shutting_down
        return found

    def _key_services(self) -> dict[str, Check]:
        """By their numbers, or together where the file that names them may change."""
        api = self._api
        if api.encrypted is None:
            return {}
        if not api.settings.encryption_reload:
            return {f"kms-provider-{number}": check for number, check in enumerate(api.encrypted.checks)}

        async def all_of_them() -> None:
            for check in api.encrypted.checks if api.encrypted is not None else ():
                await check()

        return {
            "poststarthook/start-encryption-provider-config-automatic-reload": self._hook(DUTIES),
            "kms-providers": all_of_them,
        }

    def paths(self) -> list[str]:
        """All of them, as ``/`` lists them."""
        found = []
        for endpoint in ENDPOINTS:
            found += [f"/{endpoint}", *(f"/{endpoint}/{name}" for name in self.checks(endpoint))]
        return found

    async def failed(self, endpoint: str, name: str, check: Check) -> str:
        """Runs one check; ``""`` where it is well, else what may be told of why it is not. All is logged."""
        told = ""
        try:
            async with asyncio.timeout(_SECONDS):
                await check()
        except Exception as error:
            _log.warning("health check %s failed: %s", name, error)
            told = str(error) if isinstance(error, Unhealthy) else f"{name} failed: reason withheld"
        key = (name, endpoint, "error" if told else "success")
        self._counts[key] = self._counts.get(key, 0) + 1
        self._latest[name, endpoint] = not told
        return told

    async def lines(self) -> list[str]:
        """``/metrics/slis``: every check's state now, and how often each was well."""
        for endpoint in ENDPOINTS:
            for name, check in self.checks(endpoint).items():
                await self.failed(endpoint, name, check)
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        name = "kubernetes_healthcheck"
        yield from heading(name, "[STABLE] This metric records the result of a single healthcheck.", "gauge")
        for (check, endpoint), well in self._latest.items():
            yield f'{name}{{name="{check}",type="{endpoint}"}} {int(well)}'
        name = "kubernetes_healthchecks_total"
        yield from heading(name, "[STABLE] This metric records the results of all healthcheck.", "counter")
        for (check, endpoint, status), count in self._counts.items():
            yield f'{name}{{name="{check}",status="{status}",type="{endpoint}"}} {count}'

    def _hook(self, step: int) -> Check:
        async def check() -> None:
            if step not in self.reached:
                raise Unhealthy("not finished")

        return check

    async def _loop_runs(self) -> None:
        """As upstream's: whether what must run now and then does."""
        silent = asyncio.get_running_loop().time() - self._api.metrics.ticked
        if self.reached and silent > _SILENT_SECONDS:
            raise Unhealthy(f"the event loop has run nothing that was due for {silent:.0f} s")

    async def _not_shutting_down(self) -> None:
        if self.shutting_down:
            raise Unhealthy("process is shutting down")


async def _nothing() -> None:
    return None
