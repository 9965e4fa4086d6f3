"""AlwaysPullImages: nobody runs an image that is on a node without being allowed to pull it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sublet.apiserver.admission.framework import UPDATE, Attributes, Context, Plugin, on
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden, not_supported

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


async def _admit(attributes: Attributes, _context: Context) -> None:
    if _has_no_new_images(attributes):
        return
    for _, holder, key in _policies(attributes.new()):
        if holder.get(key) != "Always":
            holder[key] = "Always"
            attributes.mutated = True


async def _validate(attributes: Attributes, _context: Context) -> None:
    wrong = [
        str(not_supported(where, holder.get(key) or "", ("Always",)))
        for where, holder, key in _policies(attributes.new())
        if holder.get(key) != "Always"
    ]
    if wrong and not _has_no_new_images(attributes):
        why = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise forbidden("", "pods", attributes.name, why)


def _policies(pod: Object) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(path, holder, key) of every pull policy."""
    spec = pod.get("spec") or {}
    for list_key in _CONTAINERS:
        for index, container in enumerate(spec.get(list_key) or ()):
            yield f"spec.{list_key}[{index}].imagePullPolicy", container, "imagePullPolicy"
    for index, volume in enumerate(spec.get("volumes") or ()):
        if volume.get("image") is not None:
            yield f"spec.volumes[{index}].image.pullPolicy", volume["image"], "pullPolicy"


def _has_no_new_images(attributes: Attributes) -> bool:
    """Whether an update brings none: what runs already is left as it is."""
    if attributes.operation != UPDATE:
        return False
    return _images(attributes.new()) <= _images(attributes.old())


def _images(pod: Object) -> set[str]:
    spec = pod.get("spec") or {}
    return {str(container.get("image")) for key in _CONTAINERS for container in spec.get(key) or ()}


PLUGIN = Plugin(
    "AlwaysPullImages", on("pods", subresources=("", "ephemeralcontainers")), admit=_admit, validate=_validate
)
