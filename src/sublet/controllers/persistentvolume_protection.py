"""persistentvolume-protection-controller: a bound volume stays until its claim is gone."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

FINALIZER = "kubernetes.io/pv-protection"
_VOLUMES = resource("persistentvolumes")


def finalizers(volume: Object) -> list[str]:
    """What the volume's finalizers should be."""
    held = objects.finalizers(volume)
    if not objects.is_deleting(volume):
        return held if FINALIZER in held else [*held, FINALIZER]
    if (volume.get("status") or {}).get("phase") == "Bound":
        return held
    return [each for each in held if each != FINALIZER]


def setup(context: Context) -> Controller:
    volumes = context.informers.informer(_VOLUMES)

    async def reconcile(name: str) -> None:
        volume = volumes.get("", name)
        if volume is None or (wanted := finalizers(volume)) == objects.finalizers(volume):
            return
        try:
            await context.client.update(
                _VOLUMES, {**volume, "metadata": {**volume["metadata"], "finalizers": wanted}}
            )
        except NotFound:
            return

    controller = Controller("persistentvolume-protection-controller", reconcile)
    volumes.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration(
    "persistentvolume-protection-controller", setup, service_account="pv-protection-controller"
)
