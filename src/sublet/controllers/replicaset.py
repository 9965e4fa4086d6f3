"""replicaset-controller: keeps the number of pods each ReplicaSet asks for."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.selectors import Selector, from_label_selector
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import Replicas

REPLICA_SETS = resource("replicasets.apps")


def _selector(replica_set: Object) -> Selector:
    return from_label_selector(replica_set["spec"].get("selector"))


def setup(context: Context) -> Controller:
    return Replicas(context, REPLICA_SETS, "replicaset-controller", _selector, terminating=True).controller


CONTROLLER = Registration("replicaset-controller", setup)
