"""What pods need of the API: ConfigMaps, Secrets, claims, volumes, tokens, Services."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.node import poddata
from sublet.node.environment import Fetch


@dataclass(slots=True)
class _Token:
    text: str
    renew_at: float


class PodObjects:
    """Reads as the node's user; NotFound is None, every other refusal is raised."""

    def __init__(
        self, client: Client, clock: Clock, services: Callable[[], Iterable[Object]], rng: random.Random
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self.services = services
        self._tokens: dict[tuple[str, str, str, int], _Token] = {}

    async def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """``plural`` as ``configmaps``, ``persistentvolumes``."""
        try:
            return await self._client.get(resource(plural), name, namespace)
        except NotFound:
            return None

    async def environment_sources(self, pod: Object, container: poddata.Container) -> Fetch:
        """All ConfigMaps and Secrets that a container's environment refers to, fetched now."""
        wanted: set[tuple[str, str]] = set()
        sources = [
            *(container.get("envFrom") or []),
            *((e.get("valueFrom") or {}) for e in container.get("env") or []),
        ]
        for source in sources:
            for field, plural in (
                ("configMapRef", "configmaps"), ("configMapKeyRef", "configmaps"),
                ("secretRef", "secrets"), ("secretKeyRef", "secrets"),
            ):  # fmt: skip
                if reference := source.get(field):
                    wanted.add((plural, reference["name"]))
        found = {key: await self.get(key[0], objects.namespace(pod), key[1]) for key in wanted}
        return lambda plural, name: found.get((plural, name))

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's ServiceAccount bound to the pod; renewed at 80 % of its life or after a day."""
        account = poddata.spec(pod).get("serviceAccountName") or "default"
        key = (objects.uid(pod), account, audience, seconds)
        held = self._tokens.get(key)
        if held is not None and self._clock.now() < held.renew_at:
            return held.text
        spec: dict[str, Any] = {
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": objects.name(pod), "uid": objects.uid(pod)
            },
        }  # fmt: skip
        spec["audiences"] = [audience] if audience else []
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": spec,
        }
        answer = await self._client.create(
            resource("serviceaccounts"), request, objects.namespace(pod), subresource="token", name=account
        )
        status = answer["status"]
        # A token for an hour is sent with a year's life for clients that never look again: renew by what was asked.
        life = min(objects.parse_time(status["expirationTimestamp"]) - self._clock.now(), float(seconds))
        renew = min(life * 0.8, 86400.0) - self._rng.uniform(0, 10)
        self._tokens[key] = _Token(status["token"], self._clock.now() + max(renew, 1.0))
        return str(status["token"])

    def forget(self, uid: str) -> None:
        """Drops the tokens of a pod that is gone."""
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]
