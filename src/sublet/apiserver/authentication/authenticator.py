"""Who asks: the methods in their order, and the groups everyone gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from sublet.client.exchange import Request, User
from sublet.machinery.status import Unauthorized

if TYPE_CHECKING:
    from sublet.apiserver.authentication.oidc import IssuedTokens
    from sublet.apiserver.authentication.serviceaccount import ServiceAccountTokens

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


class Method(Protocol):
    """One way to prove who one is."""

    async def authenticate(self, request: Request) -> User | None:
        """The user; None where the request bears no such proof. Raises ``Unauthorized`` where it is bad."""
        ...


class TokenUser(Struct, frozen=True):
    """Whom a token stands for, and for which of the audiences asked about it is meant."""

    user: User
    audiences: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """What its bearer should be told."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Annotations for the audit log."""


class TokenMethod(Protocol):
    """One kind of bearer token."""

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        """None: not a token of this kind. Raises :class:`BadToken` with the reason where it is, but is no good."""
        ...


class BadToken(Exception):
    """A token of a known kind that is expired, revoked or forged; the message holds no secret.

    ``notes`` are for the audit log.
    """

    def __init__(self, message: str, notes: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.notes = notes or {}


class Bearer:
    """``Authorization: Bearer TOKEN``, also as WebSocket subprotocol ``base64url.bearer.authorization.k8s.io.…``."""

    def __init__(self, methods: Sequence[TokenMethod], audiences: Sequence[str]) -> None:
        self._methods = tuple(methods)
        self.audiences = tuple(audiences)
        """Those of this API server."""

    async def authenticate(self, request: Request) -> User | None:
        token = _bearer(request)
        if not token:
            return None
        try:
            found = await self.review(token, self.audiences)
        except BadToken as error:
            request.context.setdefault("audit_annotations", {}).update(error.notes)
            raise Unauthorized from None
        if found.warnings:
            request.context.setdefault("warnings", []).extend(found.warnings)
        if found.notes:
            request.context.setdefault("audit_annotations", {}).update(found.notes)
        return found.user

    async def review(self, token: str, audiences: Sequence[str]) -> TokenUser:
        """Whom a token stands for. Raises :class:`BadToken`, whose text is upstream's, where no method takes it."""
        errors = [_INVALID]
        notes: dict[str, str] = {}
        for method in self._methods:
            try:
                found = await method.authenticate_token(token, audiences)
            except BadToken as error:
                errors.append(str(error))
                notes.update(error.notes)
                continue
            if found is not None:
                return found
        unique = list(dict.fromkeys(errors))
        raise BadToken(unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]", notes)


_INVALID = "invalid bearer token"
BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""Beginning of the WebSocket subprotocol by which browsers send a token: the rest is base64url."""


def _bearer(request: Request) -> str:
    """The token of a request, or ``""``. Raises ``Unauthorized`` for a malformed one."""
    scheme, _, rest = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        token, _, more = rest.partition(" ")
        if not token and more:
            request.context.setdefault("warnings", []).append(_SPACE)
        return token
    offered = request.headers.get("sec-websocket-protocol", "")
    return _of_protocols([each.strip() for each in offered.split(",")]) if BEARER_PROTOCOL in offered else ""


_SPACE = "the provided Authorization header contains extra space before the bearer token, and is ignored"


def _of_protocols(offered: Sequence[str]) -> str:
    """The token that a browser's WebSocket names as a protocol; there must be another to answer with."""
    tokens = [each[len(BEARER_PROTOCOL) :] for each in offered if each.startswith(BEARER_PROTOCOL)]
    if len(tokens) > 1:
        raise Unauthorized
    import base64

    try:
        token = base64.b64decode(tokens[0] + "=" * (-len(tokens[0]) % 4), b"-_", validate=True).decode()
    except ValueError:
        raise Unauthorized from None
    if token and len(offered) == 1:
        raise Unauthorized
    return token


class Closing(Protocol):
    """What holds connections."""

    async def close(self) -> None: ...


class Authenticator:
    """Asks its methods in order. Without any proof a request is anonymous, if that is allowed."""

    def __init__(
        self,
        methods: Sequence[Method],
        tokens: Bearer,
        service_accounts: ServiceAccountTokens | None = None,
        *,
        issued: IssuedTokens,
        closing: Sequence[Closing] = (),
        sources: Sequence[Callable[[], Iterable[str]]] = (),
    ) -> None:
        self.sources = tuple(sources)
        """What the methods count, in Prometheus' text format."""
        self._methods = (*methods, tokens)
        self.tokens = tokens
        self.issued = issued
        """The tokens of other issuers."""
        self.service_accounts = service_accounts
        """Who issues ServiceAccount tokens; None without a signing key."""
        self._closing = tuple(closing)
        self._anonymous = True
        self._anonymous_paths: frozenset[str] | None = None

    def set_anonymous(self, enabled: bool, paths: Sequence[str] | None = None) -> None:
        """Whether requests without any proof are let in as ``system:anonymous``; ``paths``: only at these."""
        self._anonymous = enabled
        self._anonymous_paths = None if paths is None else frozenset(paths)

    async def close(self) -> None:
        for each in self._closing:
            await each.close()

    async def authenticate(self, request: Request) -> User | None:
        """The user, its groups completed; None: nobody. Raises ``Unauthorized`` for bad credentials.

        One good proof is enough: a stranger's certificate beside a good token does no harm.
        """
        failed = False
        for method in self._methods:
            try:
                user = await method.authenticate(request)
            except Unauthorized:
                failed = True
                continue
            if user is not None:
                return with_authenticated(user)
        if failed:
            raise Unauthorized
        if not self._anonymous:
            return None
        paths = self._anonymous_paths
        return ANONYMOUS if paths is None or request.path in paths else None


def with_authenticated(user: User) -> User:
    """The user as a member of ``system:authenticated``."""
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
