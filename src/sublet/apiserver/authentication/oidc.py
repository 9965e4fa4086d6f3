"""Tokens of other issuers (OpenID Connect): found by discovery, verified by their published keys, mapped to users."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver.authentication.authenticator import BadToken, TokenUser
from sublet.apiserver.authentication.claims import ClaimMapper
from sublet.apiserver.authentication.configuration import JWTAuthenticator
from sublet.apiserver.authentication.jwts import audiences_of, claimed_issuer
from sublet.apiserver.reloads import hashed
from sublet.client.exchange import Request
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess
from sublet.machinery import codec
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import Histograms
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import StatusError

_log = logging.getLogger(__name__)

ALGORITHMS = ("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
_WELL_KNOWN = "/.well-known/openid-configuration"
_DISCOVERY_AGAIN = 10.0
"""Seconds between two attempts to reach an issuer that does not answer."""
_KEYS_AGAIN = 1.0
"""Seconds between two fetches of keys because a token names an unknown one: anybody can name some."""
_SECONDS = 30.0
_LIMIT = 1 << 20
_NBF_LEEWAY = 300.0
_GOOGLE = "accounts.google.com"
_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENCY = (
    "[BETA] Latency of jwt authentication operations in seconds. This is the time spent authenticating a token "
    "for cache miss only (i.e. when the token is not found in the cache)."
)

Fetch = Callable[[str, bytes, str], Awaitable[bytes]]
"""(https URL, PEM of the authorities or nothing, bearer token or nothing) -> what is there.

Raises ``StatusError``, ``ValueError``."""


async def fetch(url: str, authorities: bytes, token: str) -> bytes:
    """As :data:`Fetch`, over the network."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise ValueError(f"{url} is no https URL")
    transport = HTTPTransport(
        ClusterAccess(f"https://{parts.netloc}", authorities, token=token),
        request_seconds=_SECONDS,
        connections=2,
    )
    try:
        response = await transport.request(Request("GET", parts.path or "/", parts.query, {"accept": "*/*"}))
    finally:
        await transport.close()
    assert isinstance(response.body, bytes)
    if response.status != 200:
        raise ValueError(f"{url} answered {response.status}")
    if len(response.body) > _LIMIT:
        raise ValueError(f"{url} answered more than {_LIMIT} bytes")
    return response.body


class _Key(Struct, frozen=True):
    identity: str
    algorithm: str
    """Empty: any that suits the key."""
    document: Mapping[str, Any]


class Provider:
    """One issuer: its keys, fetched when needed and again when a token names an unknown one."""

    def __init__(self, settings: JWTAuthenticator, clock: Clock, fetched: Fetch = fetch) -> None:
        self.settings = settings
        self._clock = clock
        self._fetch = fetched
        self._authorities = settings.issuer.certificate_authority.encode()
        self._algorithms = frozenset(settings.signing_algorithms or ALGORITHMS)
        self._keys_url = ""
        self._keys: list[_Key] = []
        self._not_before = 0.0
        self._lock = asyncio.Lock()
        self._others: dict[str, Provider] = {}

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims of a good token. Raises :class:`BadToken` in upstream's words."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            raise BadToken("oidc: verify token: oidc: malformed jwt") from None
        algorithm = str(header.get("alg") or "")
        if algorithm not in self._algorithms:
            listed = " ".join(f'"{each}"' for each in sorted(self._algorithms))
            raise BadToken(
                f'oidc: verify token: oidc: id token signed with unsupported algorithm, expected [{listed}] got "{algorithm}"'
            )
        identity = str(header.get("kid") or "")
        claims = self._verified(token, identity, algorithm)
        if claims is None and await self._renew_keys():
            claims = self._verified(token, identity, algorithm)
        if claims is None:
            raise BadToken(
                "oidc: verify token: failed to verify signature: failed to verify id token signature"
            )
        self._check(claims)
        return claims

    def _verified(self, token: str, identity: str, algorithm: str) -> dict[str, Any] | None:
        import jwt

        for key in self._keys:
            if (identity and key.identity != identity) or key.algorithm not in ("", algorithm):
                continue
            try:
                public = jwt.PyJWK(dict(key.document), algorithm)
                claims: dict[str, Any] = jwt.decode(
                    token, public.key, [algorithm],
                    options={
                        "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                        "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False,
                    },
                )  # fmt: skip
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            return claims
        return None

    def _check(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        issuer = self.settings.issuer
        if _issuer(str(claims.get("iss") or "")) != issuer.url:
            raise BadToken(
                f'oidc: verify token: oidc: id token issued by a different provider, expected "{issuer.url}" '
                f'got "{claims.get("iss")}"'
            )
        if not isinstance(claims.get("aud", ""), (str, list)):
            raise BadToken(
                "oidc: verify token: oidc: failed to unmarshal claims: aud is no string and no list"
            )
        meant = audiences_of(dict(claims))
        if not set(meant) & set(issuer.audiences):
            expected, got = (
                " ".join(f'"{each}"' for each in each_list) for each_list in (issuer.audiences, meant)
            )
            raise BadToken(f"oidc: verify token: oidc: expected audience in [{expected}] got [{got}]")
        expires, begins = claims.get("exp") or 0, claims.get("nbf") or 0
        if not _is_number(expires) or not _is_number(begins):
            raise BadToken("oidc: verify token: oidc: failed to unmarshal claims: a time is no number")
        if now > expires:
            raise BadToken(f"oidc: verify token: oidc: token is expired (Token Expiry: {expires})")
        if now + _NBF_LEEWAY < begins:
            raise BadToken(
                f"oidc: verify token: oidc: current time {now} before the nbf (not before) time: {begins}"
            )

    async def _renew_keys(self) -> bool:
        """Fetches the keys, unless that was tried a moment ago; whether they were fetched now or meanwhile.

        Raises :class:`BadToken` where the issuer could not be asked yet.
        """
        before = self._keys
        async with self._lock:
            if self._keys is not before:
                return True
            if self._clock.monotonic() < self._not_before:
                if not self._keys_url:
                    raise BadToken("oidc: authenticator not initialized")
                return False
            try:
                await self._discover()
                self._keys = _keys(await self._document(self._keys_url))
            except (StatusError, ValueError, TimeoutError) as error:
                _log.warning("the keys of issuer %s cannot be had: %s", self.settings.issuer.url, error)
                wait = _KEYS_AGAIN if self._keys else _DISCOVERY_AGAIN
                self._not_before = self._clock.monotonic() + wait
                if not self._keys:
                    raise BadToken("oidc: authenticator not initialized") from None
                return False
            self._not_before = self._clock.monotonic() + _KEYS_AGAIN
            return True

    async def reach(self, patience: float) -> None:
        """Finds out where the keys are. Raises :class:`ConfigurationError` if that takes too many seconds."""
        end = self._clock.monotonic() + patience
        while True:
            try:
                async with self._lock:
                    await self._discover()
                return
            except (StatusError, ValueError, TimeoutError) as error:
                if self._clock.monotonic() + _DISCOVERY_AGAIN > end:
                    url = self.settings.issuer.url
                    raise ConfigurationError(
                        f'oidc: authenticator for issuer "{url}" is not healthy: {error}'
                    ) from None
            await asyncio.sleep(_DISCOVERY_AGAIN)

    async def _document(self, url: str) -> Any:
        return codec.decode_json(await self._fetch(url, self._authorities, ""))

    async def expand(self, claims: dict[str, Any]) -> None:
        """Fetches the groups where the token says only where they are (OpenID Connect Core, 5.6.2).

        Raises :class:`BadToken`.
        """
        name = self.settings.claim_mappings.groups.claim
        if not name or name in claims or "_claim_names" not in claims:
            return
        try:
            source = endpoint(claims, name)
            if source is None:
                return
            url, token = source
            text = (await self._fetch(url, self._authorities, token)).decode("ascii").strip()
            found = await self._other(_issuer(claimed_issuer(text))).verify(text)
        except (StatusError, ValueError, TimeoutError, BadToken) as error:
            raise BadToken(f"oidc: could not expand distributed claims: {error}") from None
        if name not in found:
            raise BadToken(
                "oidc: could not expand distributed claims: jwt returned by distributed claim endpoint "
                f'"{url}" did not contain claim: {name}'
            )
        claims[name] = found[name]

    def _other(self, issuer: str) -> Provider:
        """Who signs claims that are elsewhere: often, but not always, the issuer itself."""
        if issuer == self.settings.issuer.url:
            return self
        if issuer not in self._others:
            settings = replace(self.settings.issuer, url=issuer, discovery_url="")
            self._others[issuer] = Provider(replace(self.settings, issuer=settings), self._clock, self._fetch)
        return self._others[issuer]

    async def _discover(self) -> None:
        """Where the keys are. Raises ``ValueError``."""
        if self._keys_url:
            return
        issuer = self.settings.issuer
        document = await self._document(issuer.discovery_url or issuer.url.rstrip("/") + _WELL_KNOWN)
        if not isinstance(document, dict) or not isinstance(document.get("jwks_uri"), str):
            raise ValueError("its discovery document names no jwks_uri")
        if document.get("issuer") != issuer.url:
            raise ValueError(
                f'oidc: issuer did not match the issuer returned by provider, expected "{issuer.url}" '
                f'got "{document.get("issuer")}"'
            )
        self._keys_url = document["jwks_uri"]


class IssuedTokens:
    """The method for the tokens of all configured issuers. Its issuers may be replaced while it works."""

    def __init__(self, audiences: Sequence[str], clock: Clock, fetched: Fetch = fetch) -> None:
        self._audiences = tuple(audiences)
        self._clock = clock
        self._fetch = fetched
        self._issuers: dict[str, tuple[Provider, ClaimMapper]] = {}
        self._durations = Histograms(
            "apiserver_authentication_jwt_authenticator_latency_seconds", _LATENCY, _BUCKETS
        )

    def use(self, authenticators: Sequence[tuple[JWTAuthenticator, ClaimMapper]]) -> None:
        """Believes these from now on; the keys of those that stay as they are stay too."""
        self._issuers = self._made(authenticators)

    async def change(
        self, authenticators: Sequence[tuple[JWTAuthenticator, ClaimMapper]], patience: float
    ) -> None:
        """As :meth:`use`, once all of them have been reached.

        Raises :class:`ConfigurationError`, and changes nothing, where that takes longer than ``patience`` seconds.
        """
        made = self._made(authenticators)
        reached = await asyncio.gather(
            *(provider.reach(patience) for provider, _mapper in made.values()), return_exceptions=True
        )
        for failure in reached:
            if failure is not None:
                raise failure
        self._issuers = made

    def _made(
        self, authenticators: Sequence[tuple[JWTAuthenticator, ClaimMapper]]
    ) -> dict[str, tuple[Provider, ClaimMapper]]:
        made = {}
        for settings, mapper in authenticators:
            known = self._issuers.get(settings.issuer.url)
            same = known is not None and known[0].settings == settings
            made[settings.issuer.url] = (
                known
                if known is not None and same
                else (Provider(settings, self._clock, self._fetch), mapper)
            )
        return made

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        found = self._issuers.get(_issuer(claimed_issuer(token)))
        if found is None:
            return None
        # Such a token is for this API server, whatever audiences it names of its own.
        common = tuple(a for a in (tuple(audiences) or self._audiences) if a in self._audiences)
        if not common:
            return None
        provider, mapper = found
        begun = self._clock.monotonic()
        result = "failure"
        try:
            claims = await provider.verify(token)
            await provider.expand(claims)
            user = mapper.user(claims)
            result = "success"
        finally:
            issuer = hashed(provider.settings.issuer.url.encode())
            labels = f'jwt_issuer_hash="{issuer}",result="{result}"'
            self._durations.observe(labels, self._clock.monotonic() - begun)
        return TokenUser(user, common)

    def lines(self) -> Iterator[str]:
        """How long tokens took, in Prometheus' text format."""
        yield from self._durations.lines()


def endpoint(claims: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    """(URL, access token) where a distributed claim is; None: it is nowhere. Raises ``ValueError``."""
    names, sources = claims["_claim_names"], claims.get("_claim_sources")
    if not isinstance(names, dict):
        raise ValueError("oidc: error parsing distributed claim names")
    if not isinstance(sources, dict):
        raise ValueError("oidc: no claim sources")
    source = names.get(name)
    if source is None:
        return None
    found = sources.get(source) if isinstance(source, str) else None
    if not isinstance(found, dict):
        raise ValueError(f"id token _claim_names contained a source {source} missing in _claims_sources")
    url = str(found.get("endpoint") or "")
    return (url, str(found.get("access_token") or "")) if url else None


def _issuer(stated: str) -> str:
    """Google leaves the scheme out."""
    return f"https://{_GOOGLE}" if stated == _GOOGLE else stated


def _keys(document: Any) -> list[_Key]:
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("its key set holds no keys")
    return [
        _Key(str(each.get("kid") or ""), str(each.get("alg") or ""), each)
        for each in listed
        if isinstance(each, dict) and each.get("use", "sig") == "sig" and each.get("kty") in ("RSA", "EC")
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
