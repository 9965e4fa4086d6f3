"""legacy-serviceaccount-token-cleaner-controller: unused tokens of generated Secrets first stop counting, then go.

Only Secrets that a ServiceAccount lists and no pod uses. Source: the Kubernetes documentation, "Managing Service
Accounts", "Legacy ServiceAccount token cleaner"; upstream's controller of that name. Settings:
``legacy_service_account_token_clean_up_period`` is for how many seconds a token must not have been used (a year).
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, NotFound, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

TYPE = "kubernetes.io/service-account-token"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
UNUSED = datetime.timedelta(days=365)
"""For how long a token must not have been used."""
_EVERY = 24 * 3600.0
_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_ACCOUNT_UID = "kubernetes.io/service-account.uid"
_SECRETS = resource("secrets")
_ACCOUNTS = resource("serviceaccounts")
_PODS = resource("pods")
_CONFIG_MAPS = resource("configmaps")
_ALL = "all"

log = logging.getLogger(__name__)


def secret_names(pod: Object) -> Iterator[str]:
    """The Secrets that a pod refers to."""
    spec = pod.get("spec") or {}
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name", "")
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                yield (source.get("secretRef") or {}).get("name", "")
            for variable in container.get("env") or ():
                yield ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", "")
    for volume in spec.get("volumes") or ():
        yield (volume.get("secret") or {}).get("secretName", "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get("secret") or {}).get("name", "")


def parse_day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


def due(secret: Object, now: datetime.datetime, unused: datetime.timedelta = UNUSED) -> bool:
    """Whether a token Secret is old and has not been used for long enough."""
    before = now - unused
    created = objects.parse_time((secret.get("metadata") or {}).get("creationTimestamp", ""))
    if created >= before.timestamp() or objects.is_deleting(secret):
        return False
    stated = objects.labels(secret).get(LAST_USED)
    if stated is None:
        return True
    used = parse_day(stated)
    return used is not None and used < before.date()


class Cleaner:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        seconds = context.settings.get("legacy_service_account_token_clean_up_period")
        self._unused = UNUSED if seconds is None else datetime.timedelta(seconds=float(seconds))
        self._secrets = context.informers.informer(_SECRETS, field_selector=f"type={TYPE}")
        self._accounts = context.informers.informer(_ACCOUNTS)
        self._pods = context.informers.informer(_PODS)
        self.controller = Controller("legacy-serviceaccount-token-cleaner-controller", self.reconcile)
        self.controller.enqueue(_ALL)

    async def reconcile(self, _key: str) -> Result:
        """Looks at every token Secret, once a day."""
        now = datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC)
        since = await self._tracked_since()
        # The day on which tracking began does not count: it may have begun at its end.
        if since is not None and now.date() >= since + datetime.timedelta(days=1) + self._unused:
            for secret in self._secrets.list():
                if due(secret, now, self._unused) and self._generated(secret) and not self._mounted(secret):
                    await self._retire(secret, now)
        return Result(requeue_after=_EVERY)

    async def _tracked_since(self) -> datetime.date | None:
        try:
            found = await self._client.get(_CONFIG_MAPS, TRACKING, "kube-system")
        except NotFound:
            return None
        return parse_day((found.get("data") or {}).get("since", ""))

    def _generated(self, secret: Object) -> bool:
        notes = objects.annotations(secret)
        account = self._accounts.get(objects.namespace(secret), notes.get(_ACCOUNT_NAME, ""))
        if account is None or notes.get(_ACCOUNT_UID, objects.uid(account)) != objects.uid(account):
            return False
        return any(each.get("name") == objects.name(secret) for each in account.get("secrets") or ())

    def _mounted(self, secret: Object) -> bool:
        namespace, name = objects.namespace(secret), objects.name(secret)
        return any(
            name in secret_names(pod) for pod in self._pods.list() if objects.namespace(pod) == namespace
        )

    async def _retire(self, secret: Object, now: datetime.datetime) -> None:
        """Marks the token invalid; deletes the Secret where that mark is old enough itself."""
        namespace, name = objects.namespace(secret), objects.name(secret)
        marked = parse_day(objects.labels(secret).get(INVALID_SINCE, ""))
        try:
            if marked is None:
                labels = {INVALID_SINCE: now.date().isoformat()}
                patch = {"metadata": {"uid": objects.uid(secret), "labels": labels}}
                await self._client.patch(_SECRETS, name, patch, namespace)
            elif marked < (now - self._unused).date():
                version = secret["metadata"].get("resourceVersion", "")
                await self._client.delete(_SECRETS, name, namespace, resource_version=version)
        except (NotFound, Conflict):
            return
        except StatusError as error:
            log.warning("the token Secret %s/%s could not be retired: %s", namespace, name, error)


def setup(context: Context) -> Controller:
    return Cleaner(context).controller


CONTROLLER = Registration(
    "legacy-serviceaccount-token-cleaner-controller", setup,
    service_account="legacy-service-account-token-cleaner",
)  # fmt: skip
