"""ServiceAccount tokens: JWTs bound to their account and, if asked, to a Pod, Secret or Node (B.16)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from sublet.apiserver.authentication.authenticator import AUTHENTICATED, BadToken, TokenUser
from sublet.apiserver.authentication.jwts import audiences_of, claimed_issuer
from sublet.apiserver.authentication.tokenuse import TokenUses
from sublet.apiserver.watchcache import CachedEntry, WatchCaches, decode_stored
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.pki.signing import KeySet, SigningKey

CLAIMS = "kubernetes.io"
WARN_AFTER = 3607
"""Seconds for which a kubelet asks for a pod's token by itself; such a token lives on and only warns (upstream)."""
EXTENDED = 365 * 24 * 3600
"""Seconds that such a token lives."""
_KEPT = 2048
_LEEWAY = 10.0
"""Seconds by which clocks may differ."""
_DELETED_LEEWAY = 60.0
"""How long after its deletion time a terminating Pod's token still counts."""
_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_PREFIXES = {
    "pod": "/registry/core/pods/",
    "secret": "/registry/core/secrets/",
    "node": "/registry/core/nodes/",
    "serviceaccount": "/registry/core/serviceaccounts/",
}
_INVALIDATED = "service account token has been invalidated"


class Bound(Struct, frozen=True):
    """What a token dies with: ``kind`` is pod, secret or node."""

    kind: str
    name: str
    uid: str


class Accounts:
    """Looks whether what a token stands for still lives."""

    def __init__(self, caches: WatchCaches, clock: Clock) -> None:
        self._caches = caches
        self._clock = clock

    async def entry(self, kind: str, namespace: str, name: str) -> CachedEntry | None:
        """The stored object (``pod secret node serviceaccount``), or None."""
        prefix = _PREFIXES[kind]
        cache = self._caches.cache(prefix)
        key = f"{prefix}{namespace}/{name}" if namespace else f"{prefix}{name}"
        entry = cache.get(key)
        if entry is None:
            # Made a moment ago, perhaps: this costs only those whose account is gone.
            await cache.fresh(1.0)
            entry = cache.get(key)
        return entry

    async def check_account(self, namespace: str, name: str, uid: str) -> CachedEntry:
        """The account. Raises :class:`BadToken` where it is gone or another of the same name."""
        entry = await self.entry("serviceaccount", namespace, name)
        if entry is None:
            raise BadToken(f'serviceaccounts "{name}" not found')
        found, deleted = entry.once("identity", _identity)
        if found != uid:
            raise BadToken(f"service account UID ({found}) does not match claim ({uid})")
        if self.deleted(deleted):
            raise BadToken(f"service account {namespace}/{name} has been deleted")
        return entry

    async def check_bound(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Raises :class:`BadToken` unless the object lives and is the one the token was bound to."""
        entry = await self.entry(kind, namespace, name)
        if entry is None:
            raise BadToken(_INVALIDATED)
        found, deleted = entry.once("identity", _identity)
        if found != uid:
            raise BadToken(f"{kind} UID ({found}) does not match service account {kind} ref claim ({uid})")
        if self.deleted(deleted):
            raise BadToken(_INVALIDATED)

    def deleted(self, when: float) -> bool:
        """Whether a deletion time (0: none) is long enough ago."""
        return bool(when) and self._clock.now() > when + _DELETED_LEEWAY


class ServiceAccountTokens:
    """Issues and checks the tokens of one cluster; every check looks whether account and bound object still live.

    ``issuers``: the first is that of tokens issued, further ones are still believed; ``keys`` verify, ``key`` signs.
    """

    def __init__(
        self,
        key: SigningKey,
        issuers: Sequence[str],
        audiences: Sequence[str],
        caches: WatchCaches,
        clock: Clock,
        *,
        keys: KeySet | None = None,
        max_seconds: int = 0,
        extend: bool = True,
    ) -> None:
        self.key = key
        self.keys = keys or KeySet([key])
        self.issuer = issuers[0]
        self.audiences = tuple(audiences)
        self.max_seconds = max_seconds
        """The longest life of a token that is issued; 0: any."""
        self._issuers = frozenset(issuers)
        self._extend = extend
        self._accounts = Accounts(caches, clock)
        self._clock = clock
        self._verified: dict[str, dict[str, Any]] = {}
        self.uses = TokenUses()

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        seconds: int,
        audiences: Sequence[str] = (),
        bound: Sequence[Bound] = (),
    ) -> tuple[str, float, str]:
        """(token, when the asker should renew it in Unix seconds, its id). No audience means this API server."""
        now = int(self._clock.now())
        facts: dict[str, Any] = {"namespace": namespace}
        for each in bound:
            facts[each.kind] = {"name": each.name, **({"uid": each.uid} if each.uid else {})}
        facts["serviceaccount"] = {"name": name, "uid": uid}
        meant = list(audiences) or list(self.audiences)
        life = seconds
        if self._extends(seconds, meant, bound):
            facts["warnafter"] = now + seconds
            life = EXTENDED
        claims = {
            "aud": meant,
            "exp": now + life,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            CLAIMS: dict(sorted(facts.items())),
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return self.key.sign(claims), float(now + seconds), str(claims["jti"])

    def _extends(self, seconds: int, audiences: Sequence[str], bound: Sequence[Bound]) -> bool:
        return (
            self._extend
            and seconds == WARN_AFTER
            and any(each.kind == "pod" for each in bound)
            and set(audiences) <= set(self.audiences)
        )

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        claims = self._verified.get(token)
        if claims is None:
            if claimed_issuer(token) not in self._issuers:
                return None
            claims = self.keys.verify(token)
            if claims is None:
                raise BadToken("invalid signature")
            if len(self._verified) >= _KEPT:
                self._verified.clear()
            self._verified[token] = claims
        self._check_times(token, claims)
        meant = audiences_of(claims) or list(self.audiences)
        target = tuple(audiences) or self.audiences
        common = tuple(a for a in target if a in meant)
        if not common:
            raise BadToken(
                f"token audiences {_listed(meant)} is invalid for the target audiences {_listed(target)}"
            )
        return TokenUser(await self._live_user(claims), common, notes=self._notes(claims))

    def _check_times(self, token: str, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        if now > _number(claims, "exp") + _LEEWAY:
            self._verified.pop(token, None)
            raise BadToken("service account token has expired")
        if now < _number(claims, "nbf") - _LEEWAY:
            raise BadToken("service account token is not valid yet")
        if now < _number(claims, "iat") - _LEEWAY:
            raise BadToken("service account token is issued in the future")

    def _notes(self, claims: Mapping[str, Any]) -> Mapping[str, str]:
        """For the audit log: that a token is used which its bearer should have renewed. Counts such tokens' uses."""
        warn_after = _number(claims.get(CLAIMS) or {}, "warnafter")
        if not warn_after:
            return {}
        late = int(self._clock.now() - warn_after)
        self.uses.add("stale_tokens" if late > 0 else "valid_tokens")
        if late <= 0:
            return {}
        text = f"subject: {claims.get('sub')}, seconds after warning threshold: {late}"
        return {"authentication.k8s.io/stale-token": text}

    async def _live_user(self, claims: Mapping[str, Any]) -> User:
        facts = claims.get(CLAIMS) or {}
        namespace = str(facts.get("namespace", ""))
        account = facts.get("serviceaccount") or {}
        name, uid = str(account.get("name", "")), str(account.get("uid", ""))
        if claims.get("sub") != f"system:serviceaccount:{namespace}:{name}" or not name or not namespace:
            raise BadToken("sub claim is invalid")
        await self._accounts.check_account(namespace, name, uid)
        extra: dict[str, tuple[str, ...]] = {}
        if identity := claims.get("jti"):
            extra[_CREDENTIAL] = (f"JTI={identity}",)
        for kind in ("secret", "pod", "node"):
            reference = facts.get(kind)
            if not reference:
                continue
            bound_name, bound_uid = str(reference.get("name", "")), str(reference.get("uid", ""))
            if kind != "node" or "pod" not in facts:
                where = "" if kind == "node" else namespace
                await self._accounts.check_bound(kind, where, bound_name, bound_uid)
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (bound_name,)
                if bound_uid:
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (bound_uid,)
        return account_user(namespace, name, uid, extra)


def account_user(namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]]) -> User:
    """The user that a ServiceAccount is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)


def _identity(entry: CachedEntry) -> tuple[str, float]:
    """(uid, when it was or will be deleted in Unix seconds, or 0)."""
    metadata = decode_stored(entry).get("metadata") or {}
    deleted = metadata.get("deletionTimestamp")
    return metadata.get("uid", ""), objects.parse_time(deleted) if deleted else 0.0


def _number(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadToken(
            "service account token claims could not be validated due to unexpected validation error"
        )
    return float(value)


def _listed(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
