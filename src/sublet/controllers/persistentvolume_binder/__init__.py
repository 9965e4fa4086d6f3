"""persistentvolume-binder-controller: brings claims and volumes together (``matching`` says which suit).

Volumes are made and removed by external provisioners: a claim is told whom to wait for, a released volume with
reclaim policy Delete is left to whoever made it, and where nobody did it fails, as one that is to be recycled does.
"""

from __future__ import annotations

from collections.abc import Sequence

from sublet.controllers.persistentvolume_binder.binder import Binder
from sublet.reconcile.manager import Context, Registration, Runnable


def setup(context: Context) -> Sequence[Runnable]:
    binder = Binder(context)
    return [binder.claims, binder.volumes]


CONTROLLER = Registration(
    "persistentvolume-binder-controller", setup, service_account="persistent-volume-binder"
)
