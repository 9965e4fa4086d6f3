"""Bootstrap tokens ``id.secret``: Secrets ``bootstrap-token-ID`` in kube-system, with which nodes join."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence

from sublet.apiserver.authentication.authenticator import BadToken, TokenUser
from sublet.apiserver.watchcache import WatchCaches, decode_stored
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.clock import Clock

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
_PREFIX = "/registry/core/secrets/"
TYPE = "bootstrap.kubernetes.io/token"
BOOTSTRAPPERS = "system:bootstrappers"


class BootstrapTokens:
    """The method for bootstrap tokens; they are read from the watch cache at each use."""

    def __init__(self, caches: WatchCaches, audiences: Sequence[str], clock: Clock) -> None:
        self._caches = caches
        self._audiences = tuple(audiences)
        self._clock = clock

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        identity, secret = match.groups()
        data = self._secret(identity)
        if data is None or not hmac.compare_digest(data.get("token-secret", ""), secret):
            raise BadToken("no such bootstrap token")
        if data.get("token-id") != identity:
            raise BadToken("the bootstrap token's Secret names another id")
        if data.get("usage-bootstrap-authentication") != "true":
            raise BadToken("the bootstrap token is not for authentication")
        if self._expired(data.get("expiration", "")):
            raise BadToken("the bootstrap token has expired")
        groups = [g for g in data.get("auth-extra-groups", "").split(",") if g]
        if not all(_GROUP.fullmatch(group) for group in groups):
            raise BadToken("the bootstrap token's extra groups are malformed")
        common = tuple(a for a in (audiences or self._audiences) if a in self._audiences)
        if not common:
            raise BadToken("bootstrap tokens are for this API server only")
        return TokenUser(
            User(f"system:bootstrap:{identity}", tuple(sorted({*groups, BOOTSTRAPPERS}))), common
        )

    def _secret(self, identity: str) -> Mapping[str, str] | None:
        entry = self._caches.cache(_PREFIX).get(f"{_PREFIX}kube-system/bootstrap-token-{identity}")
        if entry is None:
            return None
        secret = decode_stored(entry)
        if secret.get("type") != TYPE or objects.is_deleting(secret):
            return None
        try:
            return {
                key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()
            }
        except (binascii.Error, UnicodeDecodeError):
            return None

    def _expired(self, expiration: str) -> bool:
        if not expiration:
            return False
        try:
            return self._clock.now() >= objects.parse_time(expiration)
        except ValueError:
            return True
