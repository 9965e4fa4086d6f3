"""replicationcontroller-controller: the same for ReplicationControllers, whose selector is a plain map."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.selectors import Selector, from_label_selector, from_labels
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import Replicas

REPLICATION_CONTROLLERS = resource("replicationcontrollers")
_NOTHING = from_label_selector(None)


def _selector(owner: Object) -> Selector:
    labels = owner["spec"].get("selector")
    return from_labels(labels) if labels else _NOTHING


def setup(context: Context) -> Controller:
    name = "replicationcontroller-controller"
    return Replicas(context, REPLICATION_CONTROLLERS, name, _selector, terminating=False).controller


CONTROLLER = Registration(
    "replicationcontroller-controller",
    setup,
    service_account="replication-controller",
    component="replication-controller",
)
