"""daemonset-controller: one pod on every node that suits (``placement`` and ``steps`` are its rules)."""

from __future__ import annotations

from sublet.controllers.daemonset.reconciler import DaemonSetReconciler
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> Controller:
    return DaemonSetReconciler(context).controller


CONTROLLER = Registration("daemonset-controller", setup, service_account="daemon-set-controller")
