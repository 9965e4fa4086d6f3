"""job-controller: runs pods until enough of them succeeded (``accounts``, ``decisions``, ``policies`` are its rules)."""

from __future__ import annotations

from sublet.controllers.job.reconciler import JobReconciler
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> Controller:
    return JobReconciler(context).controller


CONTROLLER = Registration("job-controller", setup)
