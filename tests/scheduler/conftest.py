"""A scheduler's view of a cluster, made by hand; and a real API server."""

from __future__ import annotations

import random

import pytest

from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.client.informer import InformerFactory
from sublet.client.inprocess import InProcessTransport
from sublet.kinds.resources import resource
from sublet.machinery.clock import SystemClock
from sublet.scheduler.cache import Cache
from sublet.scheduler.catalog import profiles
from sublet.scheduler.framework import Attempt, Cluster, Lookup
from sublet.scheduler.podinfo import PodInfo


class _Nobody:
    async def handle(self, request):
        raise AssertionError(f"unexpected {request.method} {request.path}")


class World:
    """A cache with nodes and pods, and informers filled by hand."""

    def __init__(self):
        self.cache = Cache()
        self._count = 0
        client = Client(InProcessTransport(_Nobody(), User("test")))
        self.informers = InformerFactory(client)
        self.cluster = Cluster(self.cache.nodes, Lookup.of(self.informers), client, SystemClock())
        self.profile = profiles()["default-scheduler"]

    def node(
        self,
        name,
        *,
        cpu="4",
        memory="8Gi",
        pods="10",
        labels=None,
        taints=(),
        unschedulable=False,
        images=(),
    ):
        self.cache.set_node(
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
                "spec": {"taints": list(taints), "unschedulable": unschedulable},
                "status": {
                    "allocatable": {"cpu": cpu, "memory": memory, "pods": pods},
                    "images": list(images),
                },
            }
        )

    def pod(
        self, *, on=None, cpu=None, memory=None, labels=None, port=None, priority=0, namespace="default",
        owner=None, image="busybox", **spec,
    ):  # fmt: skip
        self._count += 1
        requests = {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}
        container = {"name": "c", "image": image, "resources": {"requests": requests}}
        if port:
            container["ports"] = [{"hostPort": port, "containerPort": port}]
        info = PodInfo(
            {
                "metadata": {"name": f"p{self._count}", "namespace": namespace, "uid": f"u{self._count}",
                             "labels": labels or {}, "creationTimestamp": "2026-01-01T00:00:00Z",
                             "ownerReferences": [owner] if owner else []},
                "spec": {"containers": [container], "priority": priority, "nodeName": on or "", **spec},
            }
        )  # fmt: skip
        if on:
            self.cache.set_pod(info)
        return info

    def put(self, name, obj):
        informer = self.informers.informer(resource(name))
        obj["metadata"].setdefault("uid", obj["metadata"]["name"])
        informer._put(
            "/".join(filter(None, (obj["metadata"].get("namespace"), obj["metadata"]["name"]))), obj
        )

    def attempt(self, pod):
        return Attempt(pod, self.profile)

    def feasible(self, pod):
        attempt = self.attempt(pod)
        nodes = attempt.feasible(self.cache.nodes.values(), 1000) if attempt.prepare(self.cluster) else []
        return [node.name for node in nodes], attempt.message(len(self.cache.nodes))

    def best(self, pod):
        attempt = self.attempt(pod)
        assert attempt.prepare(self.cluster)
        nodes = attempt.feasible(self.cache.nodes.values(), 1000)
        return attempt.best(nodes, self.cluster, random.Random(1)).name


@pytest.fixture
def world():
    return World()
