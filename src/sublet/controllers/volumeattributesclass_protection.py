"""volumeattributesclass-protection-controller: a class that volumes or claims name stays until none does."""

from __future__ import annotations

from collections.abc import Iterator

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

FINALIZER = "kubernetes.io/vac-protection"
_CLASSES = resource("volumeattributesclasses.storage.k8s.io")
_CLAIMS = resource("persistentvolumeclaims")
_VOLUMES = resource("persistentvolumes")
_INDEX = "volume attributes classes"


def class_names(obj: Object) -> Iterator[str]:
    """The classes that a volume has, or that a claim wants, has or is being changed to."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    changing = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    found = (spec.get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), changing)
    yield from {name for name in found if name}


def setup(context: Context) -> Controller:
    classes = context.informers.informer(_CLASSES)
    users = [context.informers.informer(each) for each in (_CLAIMS, _VOLUMES)]
    for informer in users:
        informer.add_index(_INDEX, class_names)

    async def reconcile(name: str) -> None:
        found = classes.get("", name)
        if found is None:
            return
        held = objects.finalizers(found)
        if not objects.is_deleting(found):
            wanted = held if FINALIZER in held else [*held, FINALIZER]
        elif any(informer.by_index(_INDEX, name) for informer in users) or await used(name):
            return
        else:
            wanted = [each for each in held if each != FINALIZER]
        if wanted == held:
            return
        try:
            await context.client.update(
                _CLASSES, {**found, "metadata": {**found["metadata"], "finalizers": wanted}}
            )
        except NotFound:
            return

    async def used(name: str) -> bool:
        """Asked at the API too: an informer may lack what was made just now."""
        for each in (_CLAIMS, _VOLUMES):
            listed = await context.client.list(each)
            if any(name in class_names(obj) for obj in listed["items"]):
                return True
        return False

    controller = Controller("volumeattributesclass-protection-controller", reconcile)

    def on_user(_event: str, obj: Object, old: Object | None) -> None:
        for state in (obj, old):
            for name in class_names(state) if state is not None else ():
                controller.enqueue(name)

    classes.add_handler(controller.enqueue_object)
    for informer in users:
        informer.add_handler(on_user)
    return controller


CONTROLLER = Registration("volumeattributesclass-protection-controller", setup, needs=(_CLASSES,))
