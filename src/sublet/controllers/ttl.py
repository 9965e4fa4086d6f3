"""ttl-controller: tells node agents by an annotation for how long they may keep Secrets and ConfigMaps unasked.

The larger the cluster the longer. A step down is taken only well below the step's bound, so that a cluster at a
bound does not write to every node again and again. Source: Kubernetes' TTL controller.
"""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

ANNOTATION = "node.alpha.kubernetes.io/ttl"
_NODES = resource("nodes")
_STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 10000, 300), (9000, None, 600))
"""(nodes from which on it is left downwards, nodes from which on it is left upwards, seconds)"""


class Step:
    """Where on the steps the cluster is."""

    def __init__(self) -> None:
        self._at = 0

    def seconds(self, nodes: int) -> int:
        while (most := _STEPS[self._at][1]) is not None and nodes > most:
            self._at += 1
        while self._at and nodes < _STEPS[self._at][0]:
            self._at -= 1
        return _STEPS[self._at][2]


def setup(context: Context) -> Controller:
    nodes = context.informers.informer(_NODES)
    step = Step()

    async def reconcile(name: str) -> None:
        node = nodes.get("", name)
        if node is None:
            return
        wanted = str(step.seconds(len(nodes)))
        if objects.annotations(node).get(ANNOTATION) == wanted:
            return
        try:
            await context.client.patch(_NODES, name, {"metadata": {"annotations": {ANNOTATION: wanted}}})
        except NotFound:
            return

    controller = Controller("ttl-controller", reconcile)
    nodes.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration("ttl-controller", setup)
