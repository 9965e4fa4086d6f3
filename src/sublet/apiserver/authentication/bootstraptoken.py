"""Bootstrap tokens ``id.secret``: Secrets ``bootstrap-token-ID`` in kube-system, with which nodes join."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
from collections.abc import Mapping, Sequence

from sublet.apiserver.authentication.authenticator import TokenUser
from sublet.apiserver.watchcache import WatchCaches, decode_stored
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.clock import Clock

_log = logging.getLogger(__name__)

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
        """None too where the token is no good: why is logged and told to nobody, as upstream."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        identity, secret = match.groups()
        data = self._secret(identity)
        if data is None:
            return None
        if wrong := self._wrong(data, identity, secret):
            _log.info("bootstrap token %s: %s", identity, wrong)
            return None
        common = tuple(a for a in (audiences or self._audiences) if a in self._audiences)
        if not common:
            return None
        groups = tuple(sorted({*_groups(data), BOOTSTRAPPERS}))
        return TokenUser(User(f"system:bootstrap:{identity}", groups), common)

    def _wrong(self, data: Mapping[str, str], identity: str, secret: str) -> str:
        """Why a token is no good; ``""``: it is good."""
        if not hmac.compare_digest(data.get("token-secret", "").encode(), secret.encode()):
            return "it has another secret"
        if data.get("token-id") != identity:
            return "its Secret names another id"
        if data.get("usage-bootstrap-authentication") != "true":
            return "it is not for authentication"
        if self._expired(data.get("expiration", "")):
            return "it has expired"
        return "" if all(map(_GROUP.fullmatch, _groups(data))) else "its extra groups are malformed"

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


def _groups(data: Mapping[str, str]) -> list[str]:
    return [group for group in data.get("auth-extra-groups", "").split(",") if group]
