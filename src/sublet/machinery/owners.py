"""Who owns what: adoption and release of objects by controllers, and the hash that names pod templates.

Source: kube-controller-manager's ControllerRefManager and hash of pod templates.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.names import SUFFIX_ALPHABET
from sublet.machinery.selectors import Selector

_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class Claim(enum.Enum):
    """What a controller does about an object it came across."""

    OWNED = "owned"
    """It is the controller's already."""
    ADOPT = "adopt"
    """It has no controller and matches: send :func:`adoption_patch`."""
    RELEASE = "release"
    """It is the controller's but does not match any more: send :func:`release_patch`."""
    IGNORE = "ignore"
    """It is another's, or must be left alone."""


def claim(obj: Object, controller: Object, selector: Selector) -> Claim:
    """Decides by the controller reference first and by labels second.

    Before acting on ADOPT, read the controller again without a cache: one being deleted must not adopt.
    """
    owner = objects.controller_of(obj)
    matches = selector.matches(objects.labels(obj))
    if owner is not None:
        if owner.get("uid") != objects.uid(controller):
            return Claim.IGNORE
        if matches:
            return Claim.OWNED
        return Claim.IGNORE if objects.is_deleting(controller) else Claim.RELEASE
    if objects.is_deleting(controller) or not matches or objects.is_deleting(obj):
        return Claim.IGNORE
    where = objects.namespace(controller)
    return Claim.ADOPT if not where or where == objects.namespace(obj) else Claim.IGNORE


def adoption_patch(
    obj: Object, reference: Mapping[str, Any], finalizers: Sequence[str] = ()
) -> dict[str, Any]:
    """Strategic merge patch that adds the owner reference if the object is still the one that was seen."""
    metadata: dict[str, Any] = {"uid": objects.uid(obj), "ownerReferences": [dict(reference)]}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    return {"metadata": metadata}


def release_patch(obj: Object, owner_uid: str, finalizers: Sequence[str] = ()) -> dict[str, Any]:
    """Strategic merge patch that removes the owner reference."""
    metadata: dict[str, Any] = {
        "uid": objects.uid(obj),
        "ownerReferences": [{"$patch": "delete", "uid": owner_uid}],
    }
    if finalizers:
        metadata["$deleteFromPrimitiveList/finalizers"] = list(finalizers)
    return {"metadata": metadata}


def template_hash(template: Mapping[str, Any], collision_count: int | None = None) -> str:
    """The ``pod-template-hash`` of a pod template: the same for equal templates, whatever the order of keys.

    ``collision_count`` (status.collisionCount) makes another one when two templates collide.
    """
    data = _encode_sorted(template)
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little")
    return safe_encoded(str(fnv1a_32(data)))


def fnv1a_32(data: bytes) -> int:
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def safe_encoded(text: str) -> str:
    """Each character replaced by one that makes no words."""
    return "".join(SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in text.encode())
