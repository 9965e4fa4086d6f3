"""The rules of ``metadata`` that hold for every kind alike (reference B.6): filling, restoring, validating."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sublet.apiserver.conversion import CustomKind
from sublet.machinery import names, objects
from sublet.machinery.kind import Kind, Object
from sublet.machinery.managedfields import entry_errors
from sublet.machinery.status import BadRequest, FieldError, field_forbidden, invalid, required, too_long

MAX_ANNOTATIONS = 256 * 1024
_WIPED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
"""What nobody can state of a new object."""
_SERVER_SET = (*_WIPED, "resourceVersion", "generation")
_STANDARD_FINALIZERS = frozenset(("orphan", "foregroundDeletion", "kubernetes"))
_EXTENSION_GROUPS = ("apiextensions.k8s.io", "apiregistration.k8s.io")
_ORDER = ("name", "generateName", "namespace", "uid", "generation", "creationTimestamp")


def metadata_of(obj: Object) -> dict[str, Any]:
    """The metadata, made where absent. Raises ``BadRequest`` where it is no map."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise BadRequest("metadata: must be a map")
    return metadata


def place(obj: Object, kind: Kind, namespace: str) -> None:
    """Puts the object into the namespace of the URL; raises ``BadRequest`` when it names another."""
    metadata = metadata_of(obj)
    if not kind.resource.namespaced:
        metadata.pop("namespace", None)
        return
    check_namespace(metadata.get("namespace") or "", namespace)
    metadata["namespace"] = namespace


def receive(obj: Object, kind: Kind, namespace: str) -> None:
    """Takes in what is posted: forgets what nobody can state, and puts it into the URL's namespace."""
    metadata = metadata_of(obj)
    for key in _WIPED:
        metadata.pop(key, None)
    place(obj, kind, namespace)


def has_version(obj: Object) -> bool:
    """Whether an object states a version; as upstream, what is no number or 0 is none."""
    stated = str(obj["metadata"].get("resourceVersion") or "")
    return stated.isascii() and stated.isdigit() and int(stated) > 0


def check_namespace(stated: str, namespace: str) -> None:
    """Raises ``BadRequest`` when an object states another namespace than the URL's."""
    if stated and stated != namespace:
        raise BadRequest(
            f"the namespace of the provided object does not match the namespace sent on the request ({stated} != {namespace})"
            if not namespace
            else "the namespace of the provided object does not match the namespace sent on the request"
        )


def prepare_create(obj: Object, kind: Kind, now: float, rng: random.Random) -> None:
    """Fills in what only the server sets on a new object, in the order clients are used to see."""
    metadata = metadata_of(obj)
    rest = {k: v for k, v in metadata.items() if k not in _SERVER_SET}
    rest["uid"] = new_uid(rng)
    rest["creationTimestamp"] = objects.rfc3339(now)
    if stated := kind.first_generation if kind.generation else metadata.get("generation"):
        rest["generation"] = stated
    if kind.named_by_server and not rest.get("name") and not rest.get("generateName"):
        rest["name"] = new_uid(rng)
    obj["metadata"] = _ordered(rest)


def new_uid(rng: random.Random) -> str:
    """A version 4 UUID. The class of the standard library is slower than the rest of the metadata together."""
    bits = rng.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (4 << 76) | (2 << 62)
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def generate_name(obj: Object, rng: random.Random) -> None:
    """A fresh name from ``generateName``."""
    metadata = obj["metadata"]
    metadata["name"] = names.generate(str(metadata["generateName"]), rng)
    obj["metadata"] = _ordered(metadata)


def prepare_update(new: Object, old: Object) -> None:
    """Restores what a client cannot change: times, uid, generation, the place.

    A deletion that a client begins here, and another period of grace, are refused later.
    """
    before, metadata = old["metadata"], metadata_of(new)
    for key in ("creationTimestamp", "generation"):
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)
    if before.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = before["deletionTimestamp"]
    if metadata.get("deletionGracePeriodSeconds") is None and "deletionGracePeriodSeconds" in before:
        metadata["deletionGracePeriodSeconds"] = before["deletionGracePeriodSeconds"]
    metadata.pop("selfLink", None)
    if not metadata.get("uid"):
        metadata["uid"] = before.get("uid", "")
    if "generateName" in before:
        metadata.setdefault("generateName", before["generateName"])
    new["metadata"] = _ordered(metadata)


def tidy(obj: Object, *, patched: bool = False) -> list[str]:
    """Drops empty parts and repeated owners; returns warnings about what it dropped.

    ``patched``: the object comes from a patch, whose owners are looked at only once admission has been asked.
    """
    metadata = obj["metadata"]
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "generateName"):
        if key in metadata and not metadata[key]:
            del metadata[key]
    owners = metadata.get("ownerReferences")
    if not isinstance(owners, list) or len(owners) < 2:
        return []
    kept: list[Any] = []
    repeated: list[str] = []
    for owner in owners:
        if owner in kept:
            repeated.append(str(owner.get("uid", "")) if isinstance(owner, dict) else "")
        else:
            kept.append(owner)
    if not repeated:
        return []
    metadata["ownerReferences"] = kept
    when = " after mutating admission happens" if patched else ""
    return [
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may "
        f"reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {', '.join(repeated)}"
    ]


def bump_generation(new: Object, old: Object, kind: Kind, version: str) -> None:
    """One more when anything but metadata and status changed; of some kinds, some of the metadata too."""
    if not kind.generation or not kind.generation_grows:
        return
    now, then = new["metadata"], old["metadata"]
    if _body(new, kind, version) != _body(old, kind, version) or any(
        (now.get(field) or {}) != (then.get(field) or {}) for field in kind.generation_metadata
    ):
        now["generation"] = int(then.get("generation") or 0) + 1


def _body(obj: Object, kind: Kind, version: str) -> dict[str, Any]:
    ignored = {"metadata", "apiVersion", "kind"}
    if "status" in kind.below(version):
        ignored.add("status")
    return {k: v for k, v in obj.items() if k not in ignored and v not in (None, {})}


def _ordered(metadata: dict[str, Any]) -> dict[str, Any]:
    ordered = {key: metadata[key] for key in _ORDER if key in metadata}
    ordered.update((key, value) for key, value in metadata.items() if key not in ordered)
    return ordered


# -- validation --

_JUDGED_WHOLE = frozenset(
    (
        ("", "pods"), ("", "services"), ("", "endpoints"), ("", "configmaps"), ("", "secrets"),
        ("", "serviceaccounts"), ("", "persistentvolumes"), ("", "persistentvolumeclaims"),
        ("apps", "controllerrevisions"), ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "ingressclasses"), ("discovery.k8s.io", "endpointslices"),
        ("rbac.authorization.k8s.io", "roles"), ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"), ("rbac.authorization.k8s.io", "clusterrolebindings"),
    )
)  # fmt: skip
"""Kinds whose own rules judge metadata once more when an object is changed."""


def validate_create(obj: Object, kind: Kind) -> list[FieldError]:
    """Errors of a new object's metadata."""
    metadata = obj["metadata"]
    errors: list[FieldError] = []
    check = kind.validate_name or _subdomain
    name, base = metadata.get("name") or "", metadata.get("generateName") or ""
    if base:
        errors += [invalid("metadata.generateName", base, text) for text in check(base, True)]
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid("metadata.name", name, text) for text in check(name, False)]
    errors += _validate_namespace(metadata, kind)
    return [*errors, *_validate_parts(metadata), *_standard_finalizers(metadata, kind)]


def validate_embedded(metadata: Mapping[str, Any], path: str) -> list[FieldError]:
    """Errors of the metadata of an object that stands inside a custom resource, at a path."""
    errors = [
        invalid(f"metadata.{key}", metadata[key], text)
        for key in ("generateName", "name")
        if metadata.get(key)
        for text in names.path_segment(str(metadata[key]))
    ]
    namespace = metadata.get("namespace")
    if namespace:
        errors += [invalid("metadata.namespace", namespace, t) for t in names.dns1123_label(str(namespace))]
    errors += _validate_parts(metadata)
    return [replace(error, field=path + error.field.removeprefix("metadata")) for error in errors]


def validate_update(new: Object, old: Object, kind: Kind) -> list[FieldError]:
    """Errors of a changed object's metadata; the names stay what they were.

    Labels, annotations and owners are told of as often as Kubernetes does: it looks at them in what all
    kinds have in common, twice, and again in each kind's rules.
    """
    metadata, before = new["metadata"], old["metadata"]
    common = _validate_parts(metadata)
    changed = _validate_change(metadata, before)
    if not common and not changed:
        return _standard_finalizers(metadata, kind)
    changed += entry_errors(metadata.get("managedFields") or ())
    errors = [*common, *changed, *changed, *_standard_finalizers(metadata, kind)]
    if (kind.resource.group, kind.resource.plural) in _JUDGED_WHOLE:
        errors += [*common, *_standard_finalizers(metadata, kind)]
    return errors


def _validate_change(metadata: Mapping[str, Any], before: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    if before.get("deletionTimestamp"):
        added = sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if added:
            found = ", ".join(f'"{f}"' for f in added)
            errors.append(
                field_forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{found}}}",
                )
            )
    for key in ("name", "namespace", "uid", "creationTimestamp"):
        if metadata.get(key) != before.get(key) and key in before:
            errors.append(invalid(f"metadata.{key}", metadata.get(key, ""), "field is immutable"))
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(key) != before.get(key):
            errors.append(invalid(f"metadata.{key}", metadata.get(key), "field is immutable"))
    errors += label_errors(metadata.get("labels") or {})
    errors += annotation_errors(metadata.get("annotations") or {})
    errors += _validate_owners(metadata.get("ownerReferences") or [])
    return errors


def _subdomain(name: str, prefix: bool) -> Sequence[str]:
    # A prefix gets five letters behind it, so it may end in what a whole name may not.
    return names.dns1123_subdomain(names.mask_trailing_dash(name) if prefix else name)


def _validate_namespace(metadata: Mapping[str, Any], kind: Kind) -> list[FieldError]:
    if not kind.resource.namespaced:
        return []
    namespace = metadata.get("namespace") or ""
    if not namespace:
        return [required("metadata.namespace")]
    return [invalid("metadata.namespace", namespace, text) for text in names.dns1123_label(namespace)]


def finalizer_warnings(new: Object, old: Object | None) -> list[str]:
    """What is said of new finalizers of custom resources that name no owner; those of built-in kinds are refused."""
    known = objects.finalizers(old) if old is not None else ()
    told: list[str] = []
    for finalizer in sorted(set(objects.finalizers(new)) - set(known)):
        if "/" in finalizer or finalizer in _STANDARD_FINALIZERS:
            continue
        path = " including a path (/)" if "." in finalizer else ""
        told.append(
            f'metadata.finalizers: "{finalizer}": prefer a domain-qualified finalizer name{path} '
            "to avoid accidental conflicts with other finalizer writers"
        )
    return told


def _takes_any_finalizer(kind: Kind) -> bool:
    """Extensions and their definitions have finalizers that are qualified by no path."""
    return isinstance(kind, CustomKind) or kind.resource.group in _EXTENSION_GROUPS


def _validate_parts(metadata: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    if (generation := metadata.get("generation") or 0) < 0:
        errors.append(invalid("metadata.generation", generation, "must be greater than or equal to 0"))
    if labels := metadata.get("labels"):
        errors += label_errors(labels)
    if annotations := metadata.get("annotations"):
        errors += annotation_errors(annotations)
    if owners := metadata.get("ownerReferences"):
        errors += _validate_owners(owners)
    if finalizers := metadata.get("finalizers"):
        path = "metadata.finalizers"
        errors += [invalid(path, name, text) for name in finalizers for text in names.qualified_name(name)]
        if {"orphan", "foregroundDeletion"} <= set(finalizers):
            detail = "finalizer orphan and foregroundDeletion cannot be both set"
            errors.append(invalid(path, finalizers, detail))
    if entries := metadata.get("managedFields"):
        errors += entry_errors(entries)
    return errors


def _standard_finalizers(metadata: Mapping[str, Any], kind: Kind) -> list[FieldError]:
    """Without a domain only Kubernetes' own finalizers will do, on Kubernetes' own kinds."""
    finalizers = metadata.get("finalizers")
    if not finalizers or _takes_any_finalizer(kind):
        return []
    return [
        invalid(
            f"metadata.finalizers[{index}]",
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified",
        )
        for index, finalizer in enumerate(finalizers)
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
    ]


def label_errors(labels: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for key, value in labels.items():
        errors += [invalid("metadata.labels", key, text) for text in names.qualified_name(key)]
        errors += [invalid("metadata.labels", value, text) for text in names.label_value(value or "")]
    return errors


def annotation_errors(annotations: Mapping[str, Any], path: str = "metadata.annotations") -> list[FieldError]:
    errors = [invalid(path, key, text) for key in annotations for text in names.qualified_name(key.lower())]
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS:
        errors.append(too_long(path, MAX_ANNOTATIONS))
    return errors


def _validate_owners(owners: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    path = "metadata.ownerReferences"
    errors: list[FieldError] = []
    controller = ""
    for owner in owners:
        version, kind = str(owner.get("apiVersion") or ""), str(owner.get("kind") or "")
        if not version.rpartition("/")[2] or version.count("/") > 1:
            errors.append(invalid(f"{path}.apiVersion", version, "version must not be empty"))
        for key in ("kind", "name", "uid"):
            if not owner.get(key):
                errors.append(invalid(f"{path}.{key}", owner.get(key) or "", "must not be empty"))
        if (version, kind) == ("v1", "Event"):
            detail = "/v1, Kind=Event is disallowed from being an owner"
            errors.append(invalid(path, _owner_shown(owner), detail))
        if owner.get("controller"):
            called = f"{kind}/{owner.get('name') or ''}"
            if controller:
                detail = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {called}'
                )
                errors.append(invalid(path, [_owner_shown(owner) for owner in owners], detail))
            else:
                controller = called
    return errors


def _owner_shown(owner: Mapping[str, Any]) -> dict[str, Any]:
    """A reference in the order of Go's struct."""
    made = {key: owner.get(key) or "" for key in ("apiVersion", "kind", "name", "uid")}
    return made | {key: owner[key] for key in ("controller", "blockOwnerDeletion") if key in owner}


NameCheck = Callable[[str, bool], Sequence[str]]
