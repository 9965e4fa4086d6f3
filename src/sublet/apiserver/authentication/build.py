"""Puts the methods of one API server together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sublet.apiserver.authentication.authenticator import Authenticator, Bearer, Method, TokenMethod
from sublet.apiserver.authentication.bootstraptoken import BootstrapTokens
from sublet.apiserver.authentication.serviceaccount import ServiceAccountTokens
from sublet.apiserver.authentication.statictoken import StaticTokens
from sublet.apiserver.authentication.x509 import Certificates, ClientCertificates, FrontProxy
from sublet.apiserver.watchcache import WatchCaches
from sublet.client.exchange import User
from sublet.machinery.clock import Clock


def build(
    caches: WatchCaches,
    clock: Clock,
    *,
    client_ca: bytes = b"",
    front_proxy_ca: bytes = b"",
    front_proxy_names: Sequence[str] = ("front-proxy-client",),
    service_accounts: ServiceAccountTokens | None = None,
    static_tokens: Mapping[str, User] | None = None,
    audiences: Sequence[str] = (),
    anonymous: bool = True,
) -> Authenticator:
    """The authenticator; authorities are PEM, empty for none. ``audiences`` are the API server's own."""
    methods: list[Method] = []
    if front_proxy_ca:
        methods.append(FrontProxy(Certificates(front_proxy_ca, clock), front_proxy_names))
    if client_ca:
        methods.append(ClientCertificates(Certificates(client_ca, clock)))
    own = tuple(audiences) or (service_accounts.audiences if service_accounts else ())
    tokens: list[TokenMethod] = []
    if static_tokens:
        tokens.append(StaticTokens(static_tokens, own))
    if service_accounts is not None:
        tokens.append(service_accounts)
    tokens.append(BootstrapTokens(caches, own, clock))
    return Authenticator(methods, Bearer(tokens, own), anonymous=anonymous)
