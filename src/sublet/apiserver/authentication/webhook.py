"""Bearer tokens that a webhook knows: it is asked with a TokenReview, and its answers are kept for a while."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from sublet.apiserver.authentication.authenticator import BadToken, TokenUser
from sublet.apiserver.remotereview import Answers, RemoteReviews
from sublet.client.exchange import User
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

_log = logging.getLogger(__name__)


class TokenWebhookSettings(Struct, frozen=True):
    config_file: Path
    """A kubeconfig; its cluster is the webhook, its user is who asks."""
    cache_seconds: float = 120.0
    version: Literal["v1", "v1beta1"] = "v1"


class WebhookTokens:
    def __init__(self, settings: TokenWebhookSettings, audiences: Sequence[str], clock: Clock) -> None:
        """Raises ``KubeconfigError``."""
        self._settings = settings
        self._audiences = tuple(audiences)
        self._reviews = RemoteReviews(settings.config_file, clock)
        self._answers: Answers[TokenUser | str] = Answers(clock)

    async def close(self) -> None:
        await self._reviews.close()

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        wanted = tuple(audiences) or self._audiences
        key = self._answers.key(token, list(wanted))
        answer = self._answers.get(key)
        if answer is None:
            answer = _answer(await self._ask(token, wanted), wanted, self._audiences)
            if answer == "" or isinstance(answer, TokenUser):
                self._answers.put(key, answer, self._settings.cache_seconds)
        if isinstance(answer, TokenUser):
            return answer
        if answer:
            raise BadToken(answer)
        return None

    async def _ask(self, token: str, audiences: Sequence[str]) -> Object:
        review = {
            "kind": "TokenReview",
            "apiVersion": f"authentication.k8s.io/{self._settings.version}",
            "metadata": {},
            "spec": {"token": token, "audiences": list(audiences)},
            "status": {"user": {}},
        }
        try:
            return await self._reviews.ask(review)
        except StatusError as error:
            _log.warning("the token webhook could not be asked: %s", error)
            raise BadToken(str(error)) from None


def _answer(status: Object, wanted: Sequence[str], own: Sequence[str]) -> TokenUser | str:
    """The user, or why there is none (``""``: the webhook does not know the token).

    ``own``: whom the token is for where the webhook does not say, the audiences of this API server.
    """
    if not status.get("authenticated"):
        return str(status.get("error") or "")
    meant = status.get("audiences") or own
    common = tuple(a for a in wanted if a in meant)
    if not common:
        return ""
    user = status.get("user") or {}
    extra = {str(key): tuple(map(str, values or ())) for key, values in (user.get("extra") or {}).items()}
    groups = tuple(map(str, user.get("groups") or ()))
    return TokenUser(User(str(user.get("username") or ""), groups, str(user.get("uid") or ""), extra), common)
