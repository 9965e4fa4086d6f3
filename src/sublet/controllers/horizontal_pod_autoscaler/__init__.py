"""horizontalpodautoscaler-controller: keeps the replicas of anything with a scale to what its metrics ask for."""

from sublet.controllers.horizontal_pod_autoscaler.reconciler import Autoscaler
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> Controller:
    return Autoscaler(context).controller


CONTROLLER = Registration(
    "horizontal-pod-autoscaler-controller",
    setup,
    service_account="horizontal-pod-autoscaler",
    component="horizontal-pod-autoscaler",
)
