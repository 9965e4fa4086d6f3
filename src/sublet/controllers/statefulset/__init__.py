"""statefulset-controller: pods with names, order and storage of their own (``identity`` and ``steps`` are its rules)."""

from __future__ import annotations

from sublet.controllers.statefulset.reconciler import StatefulSetReconciler
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> Controller:
    return StatefulSetReconciler(context).controller


CONTROLLER = Registration("statefulset-controller", setup)
