"""cronjob-controller: makes Jobs at the times of a schedule (``schedule`` reads it)."""

from __future__ import annotations

from sublet.controllers.cronjob.reconciler import CronJobReconciler
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> Controller:
    return CronJobReconciler(context).controller


CONTROLLER = Registration("cronjob-controller", setup)
