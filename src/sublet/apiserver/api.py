"""One Kubernetes API server without its socket: what joins the store, the kinds, the chain and the handlers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from msgspec.structs import replace

import sublet
from sublet.apiserver import bootstrap, chain, customresources, health, metricsources, release, service_repair
from sublet.apiserver.access import Access
from sublet.apiserver.admission import order
from sublet.apiserver.admission.configuration import WebhookAdmission
from sublet.apiserver.admission.eventlimits import EventLimits
from sublet.apiserver.admission.framework import Admission, Context
from sublet.apiserver.admission.policies import PolicyAdmission
from sublet.apiserver.admission.webhooks import Webhooks
from sublet.apiserver.aggregation import Aggregation
from sublet.apiserver.audit.log import open_log as open_audit_log
from sublet.apiserver.authentication.build import build as build_authenticator
from sublet.apiserver.authentication.legacytoken import LAST_USED
from sublet.apiserver.authorization.authorizer import Authorizer, permission
from sublet.apiserver.authorization.bootstrap import node_rules
from sublet.apiserver.authorization.bootstrap import reconcile as reconcile_roles
from sublet.apiserver.authorization.escalation import Escalation
from sublet.apiserver.authorization.node import NodeAuthorizer
from sublet.apiserver.authorization.rbac import RBAC
from sublet.apiserver.customresources import CustomResources
from sublet.apiserver.device_admin import AdminAccess
from sublet.apiserver.device_rights import StatusRights
from sublet.apiserver.discovery import Discovery
from sublet.apiserver.duties import Duties
from sublet.apiserver.encryption.reload import Reloader
from sublet.apiserver.encryption.store import EncryptedStore
from sublet.apiserver.endpoint import OwnEndpoint
from sublet.apiserver.flowcontrol.control import FlowControl
from sublet.apiserver.health import Health
from sublet.apiserver.hosted_services import HostedServiceDuty, ServiceAllocator
from sublet.apiserver.identity import Identity
from sublet.apiserver.kindset import KindSet
from sublet.apiserver.meteredstore import MeteredStore
from sublet.apiserver.metrics import Metrics
from sublet.apiserver.node_ports import NodePorts
from sublet.apiserver.openapi import OpenAPI
from sublet.apiserver.reader import RegistryReader
from sublet.apiserver.registry import Registry
from sublet.apiserver.reloads import Reloads
from sublet.apiserver.service_ips import ServiceIPs
from sublet.apiserver.serviceendpoints import Endpoints
from sublet.apiserver.services import ServiceDuty
from sublet.apiserver.settings import APIServerSettings
from sublet.apiserver.watchcache import Computed, WatchCaches
from sublet.apiserver.webhookclient import Resolve, WebhookClient
from sublet.apiserver.webhookusers import WebhookUsers
from sublet.apiserver.writing import SYSTEM_USER
from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.exchange import Request, Response, User
from sublet.client.inprocess import InProcessTransport
from sublet.client.podstreams import PodStreams
from sublet.kinds import betas, catalog
from sublet.kinds.features import Features
from sublet.kinds.resources import resource
from sublet.machinery import names
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import StatusError
from sublet.store.interface import Store, StoreError

if TYPE_CHECKING:
    from sublet.apiserver.admission.imagepolicy import ImageReviews

_log = logging.getLogger(__name__)

_WITHDRAW_SECONDS = 2.0
Check = Callable[[], Awaitable[None]]


class APIServer:
    """Answers requests (:class:`~sublet.client.exchange.Application`) between :meth:`start` and :meth:`stop`.

    ``pod_streams`` carries logs, exec and the like to nodes; without it they are refused. ``service_allocator`` gives
    Services their addresses in place of the server's own range.
    """

    def __init__(
        self,
        settings: APIServerSettings,
        store: Store,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        pod_streams: PodStreams | None = None,
        service_allocator: ServiceAllocator | None = None,
        resolve_service: Resolve | None = None,
        detect_mutation: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.metrics = Metrics(self.clock)
        store = MeteredStore(store, self.metrics.store, self.metrics.store_errors)
        self.encrypted = _encrypted(settings, store)
        """Over ``store``, where values are encrypted."""
        self.store: Store = self.encrypted or store
        store = self.store
        self.rng: random.Random = rng or random.SystemRandom()
        self.pod_streams = pod_streams
        self._service_allocator = service_allocator
        self.service_repair: service_repair.ServiceRepair | None = None
        """Where addresses of Services are this server's to give."""
        self.health = Health(self)
        self.audit = open_audit_log(settings.audit, self.clock)
        """None where nothing is logged."""
        self.features = Features(settings.minor, settings.feature_gates)
        self.kinds = KindSet(_kinds(self.features, settings.further_versions))
        self.discovery = Discovery(self.kinds)
        self.openapi = OpenAPI(self.kinds, settings.minor, settings.version or sublet.__version__)
        self.caches = WatchCaches(store, computed=Computed(detect_mutation=detect_mutation))
        self.client = Client(
            InProcessTransport(self, SYSTEM_USER), release.user_agent(release.SERVER, settings.minor)
        )
        self.authenticator = build_authenticator(
            self.caches, self.clock, settings.authentication, self._note_use
        )
        self.metrics.sources += self.authenticator.sources
        self.registry = Registry(
            store, self.caches, self.kinds, minor=settings.minor,
            version=settings.version or sublet.__version__, clock=self.clock, rng=self.rng,
        )  # fmt: skip
        self.identity = Identity(self)
        self._reloader = self._follow_keys()
        self._let_in()
        self._judge_by(resolve_service)
        self.custom_resources = CustomResources(self.registry, self.webhook_client)
        self.aggregation = Aggregation(self)
        self.flow_control = (
            FlowControl(self, settings.max_reading + settings.max_writing)
            if settings.priority_and_fairness
            else None
        )
        self._images = _image_reviews(settings, self.clock)
        self._duties = Duties(self)
        self.endpoint = OwnEndpoint(self)
        self._started = False
        self._chain = chain.build(self)
        self._plug_in()

    def _follow_keys(self) -> Reloader | None:
        """Where values are encrypted: what lies under another key is stale, and the keys' file may be read again."""
        if self.encrypted is None:
            return None
        self.registry.stale = self.encrypted.stale
        self.metrics.sources.append(self.encrypted.lines)
        if not self.settings.encryption_reload or self.settings.encryption_config is None:
            return None
        reloads = Reloads("encryption", self.identity.name, self.clock, "ALPHA")
        self.metrics.sources.append(reloads.lines)
        return Reloader(self.settings.encryption_config, self.encrypted, reloads, self.clock)

    def _let_in(self) -> None:
        """Who is it, and may they."""
        settings = self.settings
        self.rbac = RBAC(self.caches)
        self.node_authorizer = NodeAuthorizer(self.caches, node_rules())
        self.authorizer = Authorizer((), lambda: self.caches.fresh(1.0))
        self.metrics.sources.append(self.authorizer.metrics.lines)
        self.access = Access(
            self.authenticator, settings.authentication, self.authorizer, settings.authorization,
            {"Node": self.node_authorizer, "RBAC": self.rbac}, self.clock, self.identity.name,
        )  # fmt: skip
        self.metrics.sources.append(self.access.lines)

    def _judge_by(self, resolve_service: Resolve | None) -> None:
        """What admission asks: objects, webhooks, policies."""
        settings = self.settings.admission
        self.reader = RegistryReader(self.registry)
        self.endpoints = Endpoints(self.reader.get, self.reader.list)
        self.resolve_service: Resolve = resolve_service or self.endpoints.resolve
        self.webhook_client = WebhookClient(self.resolve_service, self.clock)
        self.policies = PolicyAdmission(self.registry, self.authorizer)
        self.webhooks = Webhooks(
            self.registry, self.webhook_client, conditions=self.policies.conditions,
            mutating_users=_webhook_users(settings.mutating_webhooks),
            validating_users=_webhook_users(settings.validating_webhooks),
        )  # fmt: skip

    def _plug_in(self) -> None:
        """Gives the registry what needs the registry itself."""
        context = Context(
            self.reader, self._allowed, Escalation(self.authorizer, self.rbac), self.clock, self.rng,
            webhooks=self.webhooks, policies=self.policies, make=self._make, kinds=self._kind_named,
            configuration=self.settings.admission, minor=int(self.settings.minor.partition(".")[2]),
            event_limits=EventLimits(self.settings.admission.event_rate_limit.limits, self.clock),
            images=self._images,
        )  # fmt: skip
        plugins = order.load(self.settings.disabled_admission, self.settings.enabled_admission)
        # What every cluster must have is made without asking anybody: a webhook that is gone, or a policy that
        # refuses everything, must not keep the server from starting.
        self.registry.admission = Admission(plugins, replace(context, webhooks=None, policies=None))
        self._admission = Admission(plugins, context, self.metrics.admission, self.metrics.controllers)
        if self._service_allocator is not None:
            self.registry.duties["", "services"] = HostedServiceDuty(self.registry, self._service_allocator)
        else:
            ips = ServiceIPs(self.registry, self.settings.service_cidr)
            ports = NodePorts(self.registry, self.settings.node_ports)
            self.registry.duties["", "services"] = ServiceDuty(ips, ports)
            events = EventRecorder(self.client, service_repair.SOURCE, clock=self.clock)
            self.service_repair = service_repair.ServiceRepair(self.registry, ips, events)
        settings = self.settings
        self.metrics.sources += (
            self.webhooks.metrics.lines, self.policies.metrics.lines, self.aggregation.lines,
            context.pod_security.lines, self.custom_resources.metrics.lines,
            lambda: metricsources.stored_objects(self),
            lambda: metricsources.process(self.metrics.started),
            lambda: metricsources.build_info(settings.minor, settings.version),
            lambda: metricsources.features(self.features),
        )  # fmt: skip
        self.registry.duties["apiextensions.k8s.io", "customresourcedefinitions"] = self.custom_resources
        self.registry.judges["apiextensions.k8s.io", "customresourcedefinitions"] = (
            self.custom_resources.errors
        )
        granular = self.features.enabled("DRAResourceClaimGranularStatusAuthorization")
        AdminAccess(self.registry, StatusRights(self.authorizer) if granular else None).join()

    async def _allowed(
        self, user: User, verb: str, group: str, resource: str, name: str = "", namespace: str = "",
        subresource: str = "",
    ) -> bool:  # fmt: skip
        asked = permission(verb, group, resource, namespace=namespace, name=name, subresource=subresource)
        return (await self.authorizer.decide(user, asked)).allowed

    async def _note_use(self, namespace: str, secret: str, day: str) -> None:
        labels = {"metadata": {"labels": {LAST_USED: day}}}
        await self.client.patch(resource("secrets"), secret, labels, namespace, kind="merge")

    async def _make(self, name: str, obj: Object) -> None:
        await bootstrap.ensure(self, name, obj)

    def _kind_named(self, group: str, kind: str, version: str) -> Resource | None:
        found = self.kinds.by_kind(group, kind, version)
        return None if found is None else found[1]

    async def start(self) -> None:
        """Reads the store, makes the objects every cluster has, and begins to serve.

        Afterwards :meth:`ready` passes. Raises what the store raises.
        """
        reached = self.health.reached.add
        self.metrics.start()
        if self.audit is not None:
            self.audit.start()
            self.metrics.sources.append(self.audit.lines)
        if self.encrypted is not None:
            await self.encrypted.start(self.clock, self.identity.name)
        await self.caches.start()
        reached(health.CACHES)
        pods = self.kinds.stored("", "pods")
        if pods is not None:
            self.registry.cache(pods).add_index(
                "spec.nodeName", lambda pod: str((pod.get("spec") or {}).get("nodeName") or "")
            )
        self.rbac.start()
        await self.custom_resources.start()
        reached(health.CUSTOM)
        await bootstrap.namespaces(self)
        reached(health.NAMESPACES)
        await asyncio.gather(bootstrap.objects(self), reconcile_roles(self.client), self.identity.start())
        reached(health.OBJECTS)
        reached(health.ROLES)
        self.registry.admission = self._admission
        reached(health.ADMISSION)
        if self.flow_control is not None:
            self.flow_control.start()
            self.metrics.sources.append(self.flow_control.lines)
            reached(health.FLOW)
        self.aggregation.start()
        reached(health.AGGREGATION)
        self._duties.start()
        if self._reloader is not None:
            self._reloader.start()
        self.access.start()
        reached(health.DUTIES)
        self._started = True

    def begin_shutdown(self) -> None:
        """From now on ``/readyz`` fails, so that clients go elsewhere; requests are still answered."""
        self.health.shutting_down = True

    async def withdraw(self) -> None:
        """Tells pods of the other servers only, if there are any. Raises nothing: it is a courtesy."""
        with contextlib.suppress(StatusError, StoreError, TimeoutError):
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                await self.endpoint.withdraw()

    async def stop(self) -> None:
        """Ends watches and background work. The store stays open: it belongs to whoever opened it."""
        self._started = False
        await self.metrics.stop()
        if self._reloader is not None:
            await self._reloader.stop()
        await self.identity.stop()
        await self._duties.stop()
        if self.service_repair is not None:
            await self.service_repair.stop()
        if self.flow_control is not None:
            await self.flow_control.stop()
        await self.aggregation.stop()
        await self.custom_resources.stop()
        self.webhooks.stop()
        self.policies.stop()
        await self.webhook_client.close()
        if self._images is not None:
            await self._images.close()
        await self.access.stop()
        await self.node_authorizer.stop()
        await self.rbac.stop()
        await self.caches.stop()
        if self.encrypted is not None:
            await self.encrypted.stop()
        if self.audit is not None:
            await self.audit.stop()

    async def handle(self, request: Request) -> Response:
        return await self._chain.handle(request)

    async def ready(self) -> None:
        """Raises unless requests are answered properly: started, and the watch cache follows the store."""
        if not self._started:
            from sublet.machinery.status import ServiceUnavailable

            raise ServiceUnavailable("the API server is starting", retry_after=1)
        await self.caches.ready()

    def client_as(self, user: User, user_agent: str) -> Client:
        """A client of this server in this process; its requests pass authorization and admission as ``user``."""
        return Client(InProcessTransport(self, user), user_agent)


def _encrypted(settings: APIServerSettings, store: Store) -> EncryptedStore | None:
    """Raises :class:`~sublet.machinery.settings.ConfigurationError`."""
    if settings.encryption_config is None:
        return None
    from sublet.apiserver.encryption.configuration import load

    return EncryptedStore(store, load(settings.encryption_config))


def _webhook_users(settings: WebhookAdmission) -> WebhookUsers | None:
    """Raises ``KubeconfigError``."""
    return WebhookUsers.load(settings.kube_config_file) if settings.kube_config_file else None


def _image_reviews(settings: APIServerSettings, clock: Clock) -> ImageReviews | None:
    """Raises ``KubeconfigError``."""
    policy = settings.admission.image_policy
    if policy is None or "ImagePolicyWebhook" not in settings.enabled_admission:
        return None
    from sublet.apiserver.admission.imagepolicy import ImageReviews

    return ImageReviews(policy, clock)


_RBAC = "rbac.authorization.k8s.io"
_PATH_SEGMENT_NAMES = frozenset((
    "apiservices.apiregistration.k8s.io", "certificatesigningrequests.certificates.k8s.io",
    f"roles.{_RBAC}", f"clusterroles.{_RBAC}", f"rolebindings.{_RBAC}", f"clusterrolebindings.{_RBAC}",
    "ipaddresses.networking.k8s.io",
))  # fmt: skip
"""Whose names need not be DNS names (reference E.2), unless the kind itself says more."""


def _kinds(features: Features, further_versions: Collection[str]) -> list[Kind]:
    """The built-in kinds; definitions of custom resources get their rules from this room."""
    found = []
    for stable in catalog.load(features.minor, features).values():
        kind = betas.with_versions(stable, further_versions, features.minor) if further_versions else stable
        name = kind.resource.qualified
        if name == f"{customresources.PLURAL}.{customresources.GROUP}":
            found.append(customresources.definition_kind(kind))
        elif kind.validate_name is None and name in _PATH_SEGMENT_NAMES:
            found.append(replace(kind, validate_name=lambda text, _prefix: names.path_segment(text)))
        else:
            found.append(kind)
    return found
