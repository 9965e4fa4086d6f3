"""The webhook that says which images pods may run, and how long its answers are believed."""

from __future__ import annotations

import logging
from pathlib import Path

from sublet.apiserver.admission.imagesettings import ImagePolicy
from sublet.apiserver.remotereview import Answers, RemoteReviews
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

_log = logging.getLogger(__name__)
_KEPT = 1024
_SECONDS = 30.0


class ImageReviews:
    """Asks the webhook of one API server; :meth:`close` at the end."""

    def __init__(self, settings: ImagePolicy, clock: Clock) -> None:
        """Raises ``KubeconfigError``."""
        self.fails_open = settings.default_allow
        self._settings = settings
        self._reviews = RemoteReviews(
            Path(settings.kube_config_file), clock, _SECONDS, first_wait=settings.retry_backoff
        )
        self._answers: Answers[Object] = Answers(clock, _KEPT)

    async def ask(self, spec: Object) -> Object:
        """The status for an ImageReview's spec. Raises ``StatusError`` where the webhook gives none."""
        key = self._answers.key(spec)
        status = self._answers.get(key)
        if status is None:
            review = {"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {}}
            try:
                status = await self._reviews.ask({**review, "spec": spec, "status": {"allowed": False}})
            except StatusError as error:
                _log.info("error contacting webhook backend: %s", error)
                raise
            allowed = status.get("allowed") is True
            ttl = self._settings.allow_ttl if allowed else self._settings.deny_ttl
            self._answers.put(key, status, ttl)
        return status

    async def close(self) -> None:
        await self._reviews.close()
