"""A node's report of what it and its pods use, for ``metrics.k8s.io``; and who sends it, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sublet.client.client import Client
from sublet.machinery import codec, objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

log = logging.getLogger(__name__)

PERIOD = 15.0
_NOT_SERVED = 60.0
"""Seconds until it is tried again in a cluster that has no resource metrics."""
_FIRST_PAUSE = 2.0
_PATH = "/apis/metrics.k8s.io/v1beta1/nodes/"


@dataclass(frozen=True, slots=True)
class PodUsage:
    """``containers``: name -> resource -> quantity."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    containers: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class NodeUsage:
    name: str
    labels: Mapping[str, str]
    usage: Mapping[str, str]
    pods: Sequence[PodUsage] = field(default_factory=tuple)


def document(node: NodeUsage, now: float, window: float = PERIOD) -> Object:
    """The NodeMetrics with its PodMetrics."""
    when = {"timestamp": objects.rfc3339(now), "window": f"{window:.0f}s"}
    pods = [
        {
            "metadata": {"namespace": pod.namespace, "name": pod.name, "labels": dict(pod.labels)},
            **when,
            "containers": [{"name": n, "usage": dict(usage)} for n, usage in pod.containers.items()],
        }
        for pod in node.pods
    ]
    metadata = {"name": node.name, "labels": dict(node.labels)}
    return {"kind": "NodeMetrics", "metadata": metadata, **when, "usage": dict(node.usage), "pods": pods}


class Reporter:
    """Sends what ``measure`` gives each period, as long as the cluster serves resource metrics."""

    def __init__(
        self,
        client: Client,
        measure: Callable[[], Awaitable[Sequence[NodeUsage]]],
        clock: Clock,
        period: float = PERIOD,
    ) -> None:
        self._client = client
        self._measure = measure
        self._clock = clock
        self._period = period

    async def run(self) -> None:
        # Rates need two readings: the second soon after the first, so that there are figures soon.
        await asyncio.sleep(min(await self._send(), _FIRST_PAUSE))
        while True:
            pause = await self._send()
            await asyncio.sleep(pause)

    async def _send(self) -> float:
        """Seconds until the next report."""
        for node in await self._measure():
            body = codec.encode_json(document(node, self._clock.now(), self._period))
            headers = {"content-type": "application/json"}
            try:
                response = await self._client.raw("PUT", _PATH + node.name, body=body, headers=headers)
            except StatusError as error:
                log.debug("node %s cannot report what it uses: %s", node.name, error.message)
                return self._period
            if response.status in (403, 404, 405, 503):
                return min(_NOT_SERVED, self._period * 4)
            if response.status != 200:
                log.warning("node %s: its report was answered %d", node.name, response.status)
        return self._period
