"""OwnerReferencesPermissionEnforcement: who sets an owner must be allowed to delete the object, and to hold the owner up."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.machinery import objects
from sublet.machinery.status import Forbidden, forbidden


def _handles(attributes: Attributes) -> bool:
    if attributes.operation not in (CREATE, UPDATE) or attributes.shown is not None:
        return False
    # Old node agents spoil owners in a pod's status, where they cannot be changed.
    return (attributes.target, attributes.subresource) != (("", "pods"), "status")


async def _validate(attributes: Attributes, context: Context) -> None:
    new = objects.owners(attributes.new())
    old = objects.owners(attributes.old_object) if attributes.old_object is not None else []
    if new == old:
        return
    may = await context.authorize(
        attributes.user, "delete", attributes.group, attributes.plural, attributes.request_name,
        attributes.namespace, attributes.subresource,
    )  # fmt: skip
    if not may:
        raise _refused(attributes, "cannot set an ownerRef on a resource you can't delete: , <nil>")
    held = {owner.get("uid") for owner in old if owner.get("blockOwnerDeletion")}
    for owner in new:
        if owner.get("blockOwnerDeletion") and owner.get("uid") not in held:
            await _check_owner(attributes, context, owner)


async def _check_owner(attributes: Attributes, context: Context, owner: dict[str, Any]) -> None:
    """To block an owner's deletion is as good as giving it a finalizer."""
    group, _, version = str(owner.get("apiVersion") or "").rpartition("/")
    kind = str(owner.get("kind") or "")
    found = context.kinds(group, kind, version) if context.kinds is not None else None
    if found is None:
        named = f"{group}/{version}, Kind={kind}" if group else f"/{version}, Kind={kind}"
        raise _refused(
            attributes,
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
            f"{owner.get('apiVersion')} Kind {kind}: no matches for {named}",
        )
    namespace = attributes.namespace if found.namespaced else ""
    name = str(owner.get("name") or "")
    may = await context.authorize(
        attributes.user, "update", found.group, found.plural, name, namespace, "finalizers"
    )
    if not may:
        raise _refused(
            attributes,
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "
            ", <nil>",
        )


def _refused(attributes: Attributes, why: str) -> Forbidden:
    return forbidden(attributes.group, attributes.plural, attributes.name, why)


PLUGIN = Plugin("OwnerReferencesPermissionEnforcement", _handles, validate=_validate)
