"""volumeattributesclass-protection-controller: a class stays until no volume and no claim names it."""

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


def classes_of(user: Object) -> Iterator[str]:
    """The classes a volume or claim has, asks for or is being changed to."""
    spec, status = user.get("spec") or {}, user.get("status") or {}
    changing = status.get("modifyVolumeStatus") or {}
    named = (
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        changing.get("targetVolumeAttributesClassName"),
    )
    yield from {name for name in named if name}


def setup(context: Context) -> Controller:
    classes = context.informers.informer(_CLASSES)
    users = [context.informers.informer(each) for each in (_CLAIMS, _VOLUMES)]
    for informer in users:
        informer.add_index(_INDEX, classes_of)

    async def reconcile(name: str) -> None:
        found = classes.get("", name)
        if found is None:
            return
        held = objects.finalizers(found)
        if objects.is_deleting(found):
            if FINALIZER in held and not await in_use(name):
                await write(found, [each for each in held if each != FINALIZER])
        elif FINALIZER not in held:
            await write(found, [*held, FINALIZER])

    async def in_use(name: str) -> bool:
        if any(informer.by_index(_INDEX, name) for informer in users):
            return True
        # The informers may lack who names the class since just now: ask before it is let go.
        for each in (_CLAIMS, _VOLUMES):
            live = await context.client.list(each)
            if any(name in classes_of(user) for user in live["items"]):
                return True
        return False

    async def write(found: Object, finalizers: list[str]) -> None:
        metadata = {**found["metadata"], "finalizers": finalizers}
        try:
            await context.client.update(_CLASSES, {**found, "metadata": metadata})
        except NotFound:
            return

    controller = Controller("volumeattributesclass-protection-controller", reconcile)

    def on_user(_event: str, user: Object, old: Object | None) -> None:
        for name in {*classes_of(user), *(classes_of(old) if old else ())}:
            controller.enqueue(name)

    classes.add_handler(controller.enqueue_object)
    for informer in users:
        informer.add_handler(on_user)
    return controller


CONTROLLER = Registration(
    "volumeattributesclass-protection-controller",
    setup,
    service_account="volumeattributesclass-protection-controller",
    needs=(_CLASSES,),
)
