"""Getting a container's image by its pull policy, with back-off after failures.

Reasons and messages are kubelet's: ErrImagePull, ImagePullBackOff, ErrImageNeverPull, InvalidImageName.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import poddata
from sublet.node.backoff import BackOff
from sublet.node.cri import CRI, CRIError
from sublet.node.podobjects import PodObjects
from sublet.node.settings import NodeSettings

Record = Callable[[str, str, str], None]
"""(``Normal`` | ``Warning``, reason, message)"""

_UNREACHABLE = ("dial tcp", "no such host", "i/o timeout", "connection refused", "network is unreachable",
                "TLS handshake timeout", "server misbehaving", "EOF", "503 ", "502 ", "x509:")  # fmt: skip


class StartError(Exception):
    """A container cannot be started now; ``reason`` and ``message`` are what its waiting state shows."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def with_tag(image: str) -> str:
    """``busybox`` → ``busybox:latest``."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


class Images:
    def __init__(self, settings: NodeSettings, cri: CRI, api: PodObjects, clock: Clock) -> None:
        self._settings = settings
        self._cri = cri
        self._api = api
        self._clock = clock
        self._backoff = BackOff(settings.backoff_start, settings.backoff_limit)
        self._failed: dict[str, tuple[float, str]] = {}

    async def ensure(
        self,
        pod: Object,
        container: poddata.Container,
        record: Record,
        wait: Callable[[Awaitable[str]], Awaitable[str]],
    ) -> m.Image:
        """The local image of a container, pulled if its policy asks for that. Raises :class:`StartError`.

        ``wait`` awaits the pull and may raise to give it up.
        """
        name = with_tag(container.get("image") or "")
        policy = container.get("imagePullPolicy") or (
            "Always" if name.endswith(":latest") else "IfNotPresent"
        )
        try:
            present = await self._cri.image(name)
        except CRIError as error:
            record("Warning", "InspectFailed", f'Failed to inspect image "{name}": {error.message}')
            raise StartError(
                "InvalidImageName", f'Failed to apply default image tag "{name}": {error.message}'
            ) from None
        if present is not None and policy != "Always":
            record("Normal", "Pulled", f'Container image "{container["image"]}" already present on machine')
            return present
        if present is None and policy == "Never":
            message = f'Container image "{container["image"]}" is not present with pull policy of Never'
            record("Warning", "ErrImageNeverPull", message)
            record("Warning", "Failed", "Error: ErrImageNeverPull")
            raise StartError("ErrImageNeverPull", message)
        return await self._pull(pod, name, container["image"], present, record, wait)

    async def _pull(
        self, pod: Object, name: str, shown: str, present: m.Image | None, record: Record,
        wait: Callable[[Awaitable[str]], Awaitable[str]],
    ) -> m.Image:  # fmt: skip
        key, now = f"{objects.uid(pod)}/{name}", self._clock.now()
        if key in self._failed:
            since, message = self._failed[key]
            if self._backoff.remaining(key, since, now):
                record("Normal", "BackOff", f'Back-off pulling image "{shown}"')
                record("Warning", "Failed", "Error: ImagePullBackOff")
                raise StartError("ImagePullBackOff", f'Back-off pulling image "{shown}": {message}')
        record("Normal", "Pulling", f'Pulling image "{shown}"')
        try:
            reference = await self._attempt(pod, name, wait)
        except CRIError as error:
            if present is not None and self._settings.registry_may_be_absent and _unreachable(error.message):
                record(
                    "Normal",
                    "Pulled",
                    f'No registry answers; using the image "{shown}" present on this machine',
                )
                return present
            self._backoff.next(key, now)
            self._failed[key] = (self._clock.now(), f"ErrImagePull: {error.message}")
            record("Warning", "Failed", f'Failed to pull image "{shown}": {error.message}')
            record("Warning", "Failed", "Error: ErrImagePull")
            raise StartError("ErrImagePull", error.message) from None
        self._failed.pop(key, None)
        self._backoff.forget(key)
        image = await self._cri.image(reference)
        if image is None:
            raise StartError("ErrImagePull", f'the pulled image "{shown}" is not there')
        took = self._clock.now() - now
        record(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{shown}" in {took:.3f}s. Image size: {image.size} bytes.',
        )
        return image

    async def _attempt(self, pod: Object, name: str, wait: Callable[[Awaitable[str]], Awaitable[str]]) -> str:
        """Tries each of the pod's credentials for the registry, then none."""
        last: CRIError | None = None
        for auth in [*await self._credentials(pod, name), None]:
            try:
                return await wait(self._cri.pull_image(name, auth))
            except CRIError as error:
                last = error
        raise last or CRIError(f"cannot pull {name}")

    async def _credentials(self, pod: Object, name: str) -> list[m.AuthConfig]:
        found = []
        for reference in poddata.spec(pod).get("imagePullSecrets") or []:
            secret = await self._api.get("secrets", objects.namespace(pod), reference.get("name") or "")
            if secret is not None:
                found.extend(credentials(secret, name))
        return found


def _unreachable(message: str) -> bool:
    return any(sign in message for sign in _UNREACHABLE)


def credentials(secret: Object, image: str) -> list[m.AuthConfig]:
    """What a ``dockerconfigjson`` or ``dockercfg`` Secret holds for the registry of an image."""
    data = secret.get("data") or {}
    auths: dict[str, Any] = {}
    try:
        if ".dockerconfigjson" in data:
            auths = json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        elif ".dockercfg" in data:
            auths = json.loads(base64.b64decode(data[".dockercfg"]))
    except ValueError:
        return []
    first, _, rest = image.partition("/")
    registry = first if rest and ("." in first or ":" in first or first == "localhost") else "docker.io"
    accepted = {registry} | (
        {"index.docker.io", "registry-1.docker.io"} if registry == "docker.io" else set()
    )
    found = []
    for server, auth in auths.items():
        host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if host in accepted and isinstance(auth, dict):
            found.append(
                m.AuthConfig(
                    auth.get("username") or "", auth.get("password") or "", auth.get("auth") or "", server
                )
            )
    return found
