"""ServiceAccount tokens: JWTs bound to their account and, if asked, to a Pod, Secret or Node (B.16)."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sublet.apiserver.authentication.authenticator import AUTHENTICATED, BadToken, TokenUser
from sublet.apiserver.watchcache import CachedEntry, WatchCaches, decode_stored
from sublet.client.exchange import User
from sublet.machinery import codec, objects
from sublet.machinery.clock import Clock

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CLAIMS = "kubernetes.io"
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


class SigningKey:
    """The key of ``sa.key``: signs tokens (ES256, or RS256 for an RSA key) and publishes its public half."""

    def __init__(self, key_pem: bytes) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the ServiceAccount signing key is neither ECDSA nor RSA")
        self._key: PrivateKey = key
        self.public = key.public_key()
        self.algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        der = self.public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.identity = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()

    def sign(self, claims: Mapping[str, Any]) -> str:
        import jwt

        return jwt.encode(dict(claims), self._key, self.algorithm, headers={"kid": self.identity})

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours; None where the signature is not. Times are not looked at."""
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.public,
                algorithms=[self.algorithm],
                options={
                    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                    "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False,
                },
            )  # fmt: skip
        except jwt.PyJWTError:
            return None
        return claims

    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key."""
        from jwt.algorithms import ECAlgorithm, RSAAlgorithm

        algorithm: Any = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        made: dict[str, Any] = algorithm.to_jwk(self.public, as_dict=True)
        made.pop("key_ops", None)
        return {"use": "sig", "kid": self.identity, "alg": self.algorithm, **made}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a token dies with: ``kind`` is pod, secret or node."""

    kind: str
    name: str
    uid: str


class ServiceAccountTokens:
    """Issues and checks the tokens of one cluster; every check looks whether account and bound object still live."""

    def __init__(
        self, key: SigningKey, issuer: str, audiences: Sequence[str], caches: WatchCaches, clock: Clock
    ) -> None:
        self.key = key
        self.issuer = issuer
        self.audiences = tuple(audiences)
        self._caches = caches
        self._clock = clock
        self._verified: dict[str, dict[str, Any]] = {}

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        seconds: int,
        audiences: Sequence[str] = (),
        bound: Sequence[Bound] = (),
    ) -> tuple[str, float]:
        """(token, when it expires in Unix seconds). No audience means this API server."""
        now = int(self._clock.now())
        facts: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        for each in bound:
            facts[each.kind] = {"name": each.name, "uid": each.uid}
        claims = {
            "aud": list(audiences) or list(self.audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            CLAIMS: facts,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return self.key.sign(claims), float(now + seconds)

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        claims = self._verified.get(token)
        if claims is None:
            if token.count(".") != 2 or _claimed_issuer(token) != self.issuer:
                return None
            claims = self.key.verify(token)
            if claims is None:
                raise BadToken("invalid signature")
            if len(self._verified) >= _KEPT:
                self._verified.clear()
            self._verified[token] = claims
        self._check_times(token, claims)
        aud = claims.get("aud") or []
        meant = [aud] if isinstance(aud, str) else aud
        common = tuple(a for a in (audiences or self.audiences) if a in meant)
        if not common:
            raise BadToken(
                f"token audiences {_listed(meant)} is invalid for the target audiences {_listed(audiences)}"
            )
        return TokenUser(await self._live_user(claims), common)

    def _check_times(self, token: str, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        if now > float(claims.get("exp") or 0) + _LEEWAY:
            self._verified.pop(token, None)
            raise BadToken("service account token has expired")
        if now < float(claims.get("nbf") or 0) - _LEEWAY:
            raise BadToken("service account token is not valid yet")

    async def _live_user(self, claims: Mapping[str, Any]) -> User:
        facts = claims.get(CLAIMS) or {}
        namespace = str(facts.get("namespace", ""))
        account = facts.get("serviceaccount") or {}
        name, uid = str(account.get("name", "")), str(account.get("uid", ""))
        if claims.get("sub") != f"system:serviceaccount:{namespace}:{name}" or not name or not namespace:
            raise BadToken("token subject does not match its claims")
        await self._alive("serviceaccount", namespace, name, uid)
        extra: dict[str, tuple[str, ...]] = {}
        if identity := claims.get("jti"):
            extra[_CREDENTIAL] = (f"JTI={identity}",)
        for kind in ("pod", "secret", "node"):
            reference = facts.get(kind)
            if not reference:
                continue
            where = "" if kind == "node" else namespace
            if kind != "node" or "pod" not in facts:
                await self._alive(kind, where, reference.get("name", ""), reference.get("uid", ""))
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (reference.get("name", ""),)
                extra[f"authentication.kubernetes.io/{kind}-uid"] = (reference.get("uid", ""),)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)

    async def _alive(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Raises :class:`BadToken` unless the object lives and is the same that the token was bound to."""
        prefix = _PREFIXES[kind]
        cache = self._caches.cache(prefix)
        key = f"{prefix}{namespace}/{name}" if namespace else f"{prefix}{name}"
        entry = cache.get(key)
        if entry is None:
            # Made a moment ago, perhaps: this costs only those whose account is gone.
            await cache.fresh(1.0)
            entry = cache.get(key)
        if entry is None:
            raise BadToken(f"{kind} {name} bound to the token does not exist")
        found, deleted = entry.once("identity", _identity)
        if found != uid:
            raise BadToken(f"{kind} {name} bound to the token was deleted and made anew")
        if deleted and self._clock.now() > deleted + _DELETED_LEEWAY:
            raise BadToken(f"{kind} {name} bound to the token has been deleted")


def _identity(entry: CachedEntry) -> tuple[str, float]:
    """(uid, when it was or will be deleted in Unix seconds, or 0)."""
    metadata = decode_stored(entry).get("metadata") or {}
    deleted = metadata.get("deletionTimestamp")
    return metadata.get("uid", ""), objects.parse_time(deleted) if deleted else 0.0


def _claimed_issuer(token: str) -> str:
    payload = token.split(".")[1]
    try:
        claims = codec.decode_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return ""
    return str(claims.get("iss", "")) if isinstance(claims, dict) else ""


def _listed(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
