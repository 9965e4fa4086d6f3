"""What all pod workers of one node share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.machinery.clock import Clock
from sublet.node.backoff import BackOff
from sublet.node.cri import CRI
from sublet.node.images import Images
from sublet.node.podobjects import PodObjects
from sublet.node.runtime import RuntimeView
from sublet.node.settings import NodeSettings
from sublet.node.volumes import Volumes


@dataclass(slots=True)
class NodeContext:
    settings: NodeSettings
    client: Client
    cri: CRI
    view: RuntimeView
    api: PodObjects
    images: Images
    volumes: Volumes
    events: EventRecorder
    clock: Clock
    rng: random.Random
    memory: int
    """Bytes of the machine."""
    restarts: BackOff
    allocatable: Callable[[], Mapping[str, str]] = field(default=dict)


def make_context(
    settings: NodeSettings, client: Client, clock: Clock, rng: random.Random, services: Callable[[], list[dict[str, object]]],
    memory: int,
) -> NodeContext:  # fmt: skip
    cri = CRI(settings.cri_socket)
    api = PodObjects(client, clock, services, rng)
    return NodeContext(
        settings=settings,
        client=client,
        cri=cri,
        view=RuntimeView(cri),
        api=api,
        images=Images(settings, cri, api, clock),
        volumes=Volumes(settings, api),
        events=EventRecorder(client, "kubelet", settings.node_name, clock=clock),
        clock=clock,
        rng=rng,
        memory=memory,
        restarts=BackOff(settings.backoff_start, settings.backoff_limit),
    )
