"""The way of a request through the API server: one visible list of filters, then dispatch.

Keys of ``request.context``, in the order they come to be:

- ``audit_id`` (str): the request's id, sent back as ``Audit-Id``;
- ``info`` (RequestInfo): what is asked;
- ``warnings`` (list[str]): texts to send as ``Warning`` headers; anyone may append;
- ``impersonator`` (User): who really asks, when another user is impersonated;
- ``impersonation_constraint`` (str): the narrow right by which it may, such as ``impersonate:user-info``;
- ``audit_annotations`` (dict[str, str]): what admission notes for the audit log;
- ``flow`` (tuple of headers): to which flow schema and priority level the request was counted;
- ``terminated`` (True): the server gave the request up, out of time or for want of the server behind it;
- ``authorization`` or ``refusal`` (str): why the request was allowed, or was not.

``request.user`` is the user from authentication on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

Proceed = Callable[[Request], Awaitable[Response]]


class Filter(Protocol):
    async def __call__(self, request: Request, proceed: Proceed, /) -> Response:
        """Answers itself, or awaits ``proceed(request)`` and may change the response."""
        ...


class Chain:
    """Filters around a dispatch, as a :class:`~sublet.client.exchange.Application`."""

    def __init__(self, filters: Sequence[Filter], dispatch: Proceed) -> None:
        self.filters = tuple(filters)
        proceed = dispatch
        for each in reversed(self.filters):
            proceed = _around(each, proceed)
        self._proceed = proceed

    async def handle(self, request: Request) -> Response:
        return await self._proceed(request)


def _around(each: Filter, proceed: Proceed) -> Proceed:
    def step(request: Request) -> Awaitable[Response]:
        return each(request, proceed)

    return step


def build(api: APIServer) -> Chain:
    """The chain of one API server, outermost filter first."""
    from sublet.apiserver.dispatch import Dispatch
    from sublet.apiserver.filters.auditid import AuditID
    from sublet.apiserver.filters.authenticate import Authenticate
    from sublet.apiserver.filters.authorize import Authorize
    from sublet.apiserver.filters.errors import Errors
    from sublet.apiserver.filters.fairness import PriorityAndFairness
    from sublet.apiserver.filters.impersonate import Impersonate
    from sublet.apiserver.filters.inflight import InFlight
    from sublet.apiserver.filters.measure import Measure
    from sublet.apiserver.filters.parse import Parse
    from sublet.apiserver.filters.timeout import RequestTimeout
    from sublet.apiserver.filters.warn import Warn

    reading, writing = api.settings.max_reading, api.settings.max_writing
    before: list[Filter] = []
    after: list[Filter] = []
    if api.audit is not None:
        from sublet.apiserver.filters.audit import Audit, AuditRefused

        before, after = [AuditRefused(api.audit)], [Audit(api.audit)]
    constrained = api.features.enabled("ConstrainedImpersonation")
    impersonate = Impersonate(api.authorizer, api.clock, constrained=constrained)
    if constrained:
        api.metrics.sources.append(impersonate.metrics.lines)
    return Chain(
        [
            *_for_browsers(api),
            AuditID(),
            Parse(),
            Measure(api.metrics, api.clock),
            Warn(),
            Errors(),
            *before,
            RequestTimeout(api.settings.request_timeout),
            Authenticate(api.authenticator, api.metrics),
            *after,
            impersonate,
            PriorityAndFairness(api.flow_control) if api.flow_control else InFlight(reading, writing),
            Authorize(
                api.authorizer,
                api.metrics.authorizations,
                websockets=api.features.enabled("AuthorizePodWebsocketUpgradeCreatePermission"),
            ),
        ],
        Dispatch(api).answer,
    )


def _for_browsers(api: APIServer) -> list[Filter]:
    """Only where the settings ask for them: no other request pays."""
    settings = api.settings
    found: list[Filter] = []
    if settings.strict_transport_security or settings.cors_allowed_origins:
        from sublet.apiserver.filters.browsers import CrossOrigin, StrictTransport

        if settings.strict_transport_security:
            found.append(StrictTransport(settings.strict_transport_security))
        if settings.cors_allowed_origins:
            found.append(CrossOrigin(settings.cors_allowed_origins))
    return found
