"""What a write states of the object it means, its uid and resource version, held against the object there is (B.5, B.6).

Source: apiserver's registry/rest (update.go, delete.go) and storage/etcd3, whose texts clients see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.apiserver import objectmeta
from sublet.apiserver.deletion import DeleteOptions
from sublet.machinery import objects
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import Conflict, conflict, invalid, invalid_object

_KEYS: Mapping[str, str] = {
    "services": "services/specs", "endpoints": "services/endpoints", "nodes": "minions",
    "replicationcontrollers": "controllers",
}  # fmt: skip
_PREFIXED = ("apiextensions.k8s.io", "apiregistration.k8s.io")


def storage_key(kind: Kind, namespace: str, name: str) -> str:
    """Where upstream keeps the object in etcd: some conflicts show it."""
    resource = kind.resource
    plural = _KEYS.get(resource.plural, resource.plural) if not resource.group else resource.plural
    if resource.group in _PREFIXED or _is_custom(resource):
        plural = f"{resource.group}/{plural}"
    return "/".join(filter(None, ("/registry", plural, namespace if resource.namespaced else "", name)))


def _is_custom(resource: Resource) -> bool:
    return "." in resource.group and not resource.group.endswith(".k8s.io")


def other_uid(kind: Kind, namespace: str, name: str, wanted: str, stands: str) -> Conflict:
    """The 409 of a PUT that means an object with another uid."""
    return _unmet(kind, namespace, name, "UID", wanted, stands)


def _unmet(kind: Kind, namespace: str, name: str, word: str, wanted: str, stands: str) -> Conflict:
    return conflict(
        kind.resource.group, kind.resource.plural, name,
        f"StorageError: invalid object, Code: 4, Key: {storage_key(kind, namespace, name)}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: {word} in precondition: {wanted}, {word} in object meta: {stands}",
    )  # fmt: skip


def check_bound(kind: Kind, stated: Mapping[str, Any], obj: Object) -> None:
    """Raises ``Conflict`` where the metadata of a Binding means another object, or another state of it."""
    for key, word in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted, stands = stated.get(key), obj["metadata"][key]
        if wanted and wanted != stands:
            raise _unmet(kind, objects.namespace(obj), objects.name(obj), word, wanted, stands)


def check_update(kind: Kind, new: Object, old: Object, *, patched: bool) -> None:
    """Raises ``Conflict``, or ``Invalid`` where a kind wants the version stated.

    A uid that a patch changes (``patched``) is left to validation, as an immutable field.
    """
    metadata, resource = objectmeta.metadata_of(new), kind.resource
    name, uid = objects.name(old), metadata.get("uid")
    if uid and uid != objects.uid(old) and not patched:
        raise other_uid(kind, objects.namespace(old), name, str(uid), objects.uid(old))
    revision = metadata.get("resourceVersion")
    if not revision or revision == "0":
        if not kind.unconditional_update:
            error = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid_object(resource.group, resource.plural, name, [error])
        return
    if not str(revision).isdigit():
        error = invalid("metadata.resourceVersion", revision, "must be an unsigned integer")
        raise invalid_object(resource.group, resource.kind, name, [error])
    if str(revision) != old["metadata"]["resourceVersion"]:
        raise conflict(resource.group, resource.plural, name)


def check_delete(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    """Raises ``Conflict`` when the object is not the one meant."""
    stands = obj["metadata"]
    for word, wanted, found, why in (
        ("UID", options.uid, stands.get("uid"), "deleted and then recreated"),
        ("ResourceVersion", options.resource_version, stands.get("resourceVersion"), "modified"),
    ):
        if wanted and wanted != found:
            raise conflict(
                kind.resource.group, kind.resource.kind, objects.name(obj),
                f"the {word} in the precondition ({wanted}) does not match the {word} in record ({found}). "
                f"The object might have been {why}",
            )  # fmt: skip
