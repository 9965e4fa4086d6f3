"""Puts the methods of one API server together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from sublet.apiserver.authentication.authenticator import Authenticator, Bearer, Method, TokenMethod
from sublet.apiserver.authentication.bootstraptoken import BootstrapTokens
from sublet.apiserver.authentication.configuration import AuthenticationConfiguration
from sublet.apiserver.authentication.legacytoken import Label, LegacyTokens
from sublet.apiserver.authentication.oidc import IssuedTokens
from sublet.apiserver.authentication.serviceaccount import ServiceAccountTokens
from sublet.apiserver.authentication.statictoken import StaticTokens
from sublet.apiserver.authentication.webhook import TokenWebhookSettings, WebhookTokens
from sublet.apiserver.authentication.x509 import Certificates, ClientCertificates, FrontProxy, ProxyHeaders
from sublet.apiserver.watchcache import WatchCaches
from sublet.client.exchange import User
from sublet.machinery.clock import Clock
from sublet.pki.signing import KeySet, SigningKey, verifying_keys

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"


class AuthenticationSettings(Struct, frozen=True):
    """What can be set about authentication. Certificates and keys are PEM; empty: the method is off."""

    client_ca: bytes = b""
    """Whose client certificates are believed."""
    front_proxy_ca: bytes = b""
    """Whose certificates may bring ``X-Remote-User`` headers."""
    front_proxy_names: Sequence[str] = ("front-proxy-client",)
    front_proxy_headers: ProxyHeaders = field(default_factory=ProxyHeaders)
    service_account_key: bytes = b""
    """``sa.key``: signs and verifies ServiceAccount tokens."""
    service_account_public_keys: bytes = b""
    """Further public keys (PEM blocks) that verify tokens: of a key that was replaced, or will be."""
    issuer: str = DEFAULT_ISSUER
    further_issuers: Sequence[str] = ()
    """Whose tokens are still believed, though none are issued under that name."""
    jwks_uri: str = ""
    """Where the published keys are said to be; empty: below the issuer."""
    max_token_seconds: int = 0
    """The longest life of a ServiceAccount token that is issued; 0: any."""
    extend_tokens: bool = True
    """Whether a pod's token of 3607 s lives a year and only warns after its time."""
    audiences: Sequence[str] = ()
    """Of this API server; empty: the issuer."""
    static_tokens: Mapping[str, User] = field(default_factory=dict)
    bootstrap_tokens: bool = True
    anonymous: bool = True
    """Whether requests without proof are let in, unless the configuration says so itself."""
    configuration: AuthenticationConfiguration = field(default_factory=AuthenticationConfiguration)
    configuration_file: Path | None = None
    """An AuthenticationConfiguration instead; read again when it changes."""
    token_webhook: TokenWebhookSettings | None = None


def build(caches: WatchCaches, clock: Clock, settings: AuthenticationSettings, label: Label) -> Authenticator:
    """The authenticator of one API server. Raises ``KubeconfigError``.

    ``label`` notes at a Secret when its token was used.
    """
    methods: list[Method] = []
    sources: list[Callable[[], Iterable[str]]] = []
    if settings.front_proxy_ca:
        proxies = Certificates(settings.front_proxy_ca, clock)
        methods.append(FrontProxy(proxies, settings.front_proxy_names, settings.front_proxy_headers))
    if settings.client_ca:
        certificates = Certificates(settings.client_ca, clock)
        methods.append(ClientCertificates(certificates))
        sources.append(certificates.lines)
    own = tuple(settings.audiences) or (settings.issuer,)
    tokens: list[TokenMethod] = []
    if settings.static_tokens:
        tokens.append(StaticTokens(settings.static_tokens, own))
    accounts: ServiceAccountTokens | None = None
    if settings.service_account_key:
        key = SigningKey(settings.service_account_key)
        more = settings.service_account_public_keys
        keys = KeySet([key, *(verifying_keys(more) if more else ())])
        accounts = ServiceAccountTokens(
            key, (settings.issuer, *settings.further_issuers), own, caches, clock,
            keys=keys, max_seconds=settings.max_token_seconds, extend=settings.extend_tokens,
        )  # fmt: skip
        tokens += [LegacyTokens(keys, own, caches, clock, label, accounts.uses), accounts]
        sources.append(accounts.uses.lines)
    if settings.bootstrap_tokens:
        tokens.append(BootstrapTokens(caches, own, clock))
    issued = IssuedTokens(own, clock)
    tokens.append(issued)
    sources.append(issued.lines)
    closing = []
    if settings.token_webhook is not None:
        webhook = WebhookTokens(settings.token_webhook, own, clock)
        tokens.append(webhook)
        closing.append(webhook)
    return Authenticator(
        methods, Bearer(tokens, own), accounts, issued=issued, closing=closing, sources=sources
    )
