"""Puts the methods of one API server together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sublet.apiserver.authentication.authenticator import Authenticator, Bearer, Method, TokenMethod
from sublet.apiserver.authentication.bootstraptoken import BootstrapTokens
from sublet.apiserver.authentication.serviceaccount import ServiceAccountTokens, SigningKey
from sublet.apiserver.authentication.statictoken import StaticTokens
from sublet.apiserver.authentication.x509 import Certificates, ClientCertificates, FrontProxy
from sublet.apiserver.watchcache import WatchCaches
from sublet.client.exchange import User
from sublet.machinery.clock import Clock

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class AuthenticationSettings:
    """What can be set about authentication. Certificates and keys are PEM; empty: the method is off."""

    client_ca: bytes = b""
    """Whose client certificates are believed."""
    front_proxy_ca: bytes = b""
    """Whose certificates may bring ``X-Remote-User`` headers."""
    front_proxy_names: Sequence[str] = ("front-proxy-client",)
    service_account_key: bytes = b""
    """``sa.key``: signs and verifies ServiceAccount tokens."""
    issuer: str = DEFAULT_ISSUER
    audiences: Sequence[str] = ()
    """Of this API server; empty: the issuer."""
    static_tokens: Mapping[str, User] = field(default_factory=dict)
    anonymous: bool = True


def build(caches: WatchCaches, clock: Clock, settings: AuthenticationSettings) -> Authenticator:
    """The authenticator of one API server. Raises ``ValueError`` for a signing key that is none."""
    methods: list[Method] = []
    if settings.front_proxy_ca:
        methods.append(FrontProxy(Certificates(settings.front_proxy_ca, clock), settings.front_proxy_names))
    if settings.client_ca:
        methods.append(ClientCertificates(Certificates(settings.client_ca, clock)))
    own = tuple(settings.audiences) or (settings.issuer,)
    accounts: ServiceAccountTokens | None = None
    if settings.service_account_key:
        key = SigningKey(settings.service_account_key)
        accounts = ServiceAccountTokens(key, settings.issuer, own, caches, clock)
    tokens: list[TokenMethod] = []
    if settings.static_tokens:
        tokens.append(StaticTokens(settings.static_tokens, own))
    if accounts is not None:
        tokens.append(accounts)
    tokens.append(BootstrapTokens(caches, own, clock))
    return Authenticator(methods, Bearer(tokens, own), accounts, anonymous=settings.anonymous)
