"""deployment-controller: rolls ReplicaSets out, one per pod template (``rolling``, ``revisions``, ``progress`` are its arithmetic)."""

from __future__ import annotations

from sublet.controllers.deployment.reconciler import DeploymentReconciler
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> Controller:
    return DeploymentReconciler(context).controller


CONTROLLER = Registration("deployment-controller", setup)
