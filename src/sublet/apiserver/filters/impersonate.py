"""Lets those who may act as another user (``Impersonate-User`` and its companions)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from sublet.apiserver.authorization.authorizer import Authorizer
from sublet.apiserver.authorization.denial import denial
from sublet.apiserver.chain import Proceed
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response, User
from sublet.machinery.status import BadRequest

_EXTRA = "impersonate-extra-"
_AUTHENTICATED = "system:authenticated"
_ANONYMOUS = "system:anonymous"
_UNAUTHENTICATED = "system:unauthenticated"
_SERVICE_ACCOUNT = "system:serviceaccount:"


class Impersonate:
    """Needs the verb ``impersonate`` on each user, group, uid and extra value asked for."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        headers = request.headers
        if "impersonate-user" not in headers:
            if any(name.startswith("impersonate-") for name in headers):
                raise BadRequest("requested impersonation without impersonating a user")
            return await proceed(request)
        asker = request.user
        assert asker is not None
        groups, extra = _asked(request)
        name, uid = headers["impersonate-user"], headers.get("impersonate-uid", "")
        for check in _checks(name, groups, uid, extra):
            decision = await self._authorizer.decide(asker, check)
            if not decision.allowed:
                raise denial(asker, check, decision.reason)
        request.context["impersonator"] = asker
        request.user = User(name, _completed(name, groups), uid, extra)
        return await proceed(request)


def _asked(request: Request) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    groups = request.headers.get("impersonate-group", "")
    extra = {
        unquote(key[len(_EXTRA) :]): tuple(value.split("\n"))
        for key, value in request.headers.items()
        if key.startswith(_EXTRA)
    }
    return tuple(filter(None, groups.split("\n"))), extra


def _checks(
    name: str, groups: tuple[str, ...], uid: str, extra: dict[str, tuple[str, ...]]
) -> Iterator[RequestInfo]:
    if name.startswith(_SERVICE_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        yield _check("serviceaccounts", account, namespace=namespace)
    else:
        yield _check("users", name)
    for group in groups:
        yield _check("groups", group)
    if uid:
        yield _check("uids", uid, "authentication.k8s.io")
    for key, values in extra.items():
        for value in values:
            yield _check("userextras", value, "authentication.k8s.io", key)


def _check(
    resource: str, name: str, group: str = "", subresource: str = "", namespace: str = ""
) -> RequestInfo:
    return RequestInfo("impersonate", "", True, group, "v1", namespace, resource, subresource, name)


def _completed(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups everyone of that kind is in, as if the user had logged in."""
    if name == _ANONYMOUS:
        return groups if _UNAUTHENTICATED in groups else (*groups, _UNAUTHENTICATED)
    if name.startswith(_SERVICE_ACCOUNT) and not groups and name.count(":") == 3:
        namespace = name.split(":")[2]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    if _AUTHENTICATED in groups or _UNAUTHENTICATED in groups:
        return groups
    return (*groups, _AUTHENTICATED)
