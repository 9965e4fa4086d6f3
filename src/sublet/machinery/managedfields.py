"""metadata.managedFields: who owns which field, kept up to date by every write.

Source: apimachinery's managedfields package; reference/kubernetes-api.md B.7. Entries of all API versions are read with
the one schema given: field names of a kind do not differ between the versions served here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import Struct

from sublet.machinery import fieldsets, objects
from sublet.machinery.fieldsets import LEAF, Fields
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema
from sublet.machinery.shapes import compare, reconciled, shape_of
from sublet.machinery.status import FieldError, invalid, quoted, too_long

UPDATE, APPLY = "Update", "Apply"
UPDATERS_LIMIT = 10
MAX_MANAGER, MAX_SUBRESOURCE = 128, 256
"""Bytes of their names."""
ANCIENT = "ancient-changes"

Entry = dict[str, Any]

STRIPPED: Fields = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {
        ".": LEAF,
        **dict.fromkeys(
            (
                "f:name",
                "f:namespace",
                "f:creationTimestamp",
                "f:selfLink",
                "f:uid",
                "f:generation",
                "f:managedFields",
                "f:resourceVersion",
            ),
            LEAF,
        ),
    },
}
"""What belongs to nobody."""


class Scope(Struct, frozen=True):
    """What a write through one endpoint can make somebody own. Paths are tuples of path elements."""

    reset: tuple[tuple[str, ...], ...] = ()
    """The server restores these whatever a client says of them."""
    only: tuple[tuple[str, ...], ...] = ()
    """When given, everything else is reset too; an element may be ``*``."""

    def of(self, fields: Fields) -> Fields:
        """The part of a set that is in the scope."""
        if self.only:
            found: Fields = {}
            for path in self.only:
                found = fieldsets.union(found, fieldsets.only(fields, path))
            fields = found
        for path in self.reset:
            fields = fieldsets.without(fields, path)
        return fields


EVERYTHING = Scope()

_VALUE_STRUCTS = ("metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate")
"""Parts that built-in kinds always have, though perhaps empty: nobody adds them."""


def update(
    old: Object | None,
    new: Object,
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    now: float,
    schema: Schema | None,
    scope: Scope = EVERYTHING,
    versions: Collection[str] | None = None,
) -> None:
    """Sets ``new["metadata"]["managedFields"]`` after a create or update by ``manager``.

    A client may set the list itself (on the main endpoint); ``[]`` and ``[{}]`` wipe it, nonsense is replaced by the old list.
    An object whose list was wiped stays without one until it is applied. Times move only where fields were taken.
    ``scope``: what can be owned through this endpoint. ``versions``: the API versions that the kind has (None: any);
    what was owned in others is forgotten.
    """
    metadata = new["metadata"]
    entries = _current(old, metadata.pop("managedFields", None), bool(subresource))
    wiped = not entries
    entries = renewed(entries, schema, versions)
    if old is not None and wiped and (old.get("metadata") or {}).get("uid"):
        return
    changed, removed = changes(old, new, schema)
    changed, removed = scope.of(changed), scope.of(removed)
    entries = taken(
        entries,
        changed,
        removed,
        manager=manager,
        operation=UPDATE,
        api_version=api_version,
        subresource=subresource,
        now=now,
    )
    if entries:
        metadata["managedFields"] = entries


def _current(old: Object | None, given: Any, ignore_given: bool) -> list[Entry]:
    stored = ((old or {}).get("metadata") or {}).get("managedFields") or []
    if ignore_given or given is None or given == stored:
        return stored
    if given in ([], [{}]):
        return []
    if problem(given):
        return stored
    # Of entries that a client has made the same manager's, the last one counts.
    last = {identity(entry): entry for entry in given}
    return [entry | {"fieldsV1": fieldsets.ordered(entry.get("fieldsV1") or {})} for entry in last.values()]


def renewed(entries: list[Entry], schema: Schema | None, versions: Collection[str] | None) -> list[Entry]:
    """Stored entries as they are read today: without versions that the kind has no more, by a custom schema's new shape."""
    if versions is not None and any(entry.get("apiVersion") not in versions for entry in entries):
        entries = [entry for entry in entries if entry.get("apiVersion") in versions]
    if schema is None or is_built_in(schema):
        return entries
    shape = shape_of(schema)
    found = []
    for entry in entries:
        fields = entry.get("fieldsV1") or {}
        now = reconciled(shape, fields)
        found.append(entry if now is fields else entry | {"fieldsV1": now})
    return found


def problem(entries: object) -> str:
    """Why a list of entries cannot be kept; empty where it can."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return "managedFields must be a list of entries"
    for at, entry in enumerate(entries):
        if entry.get("operation") not in (UPDATE, APPLY):
            return "operation must be `Apply` or `Update`"
        version, fields_type = entry.get("apiVersion"), entry.get("fieldsType") or ""
        if not isinstance(version, str) or not version:
            return "apiVersion must not be empty"
        if not fields_type:
            return f"missing fieldsType in managed fields entry {at}"
        if fields_type != "FieldsV1":
            return f"invalid fieldsType {quoted(str(fields_type))} in managed fields entry {at}"
        if not isinstance(entry.get("manager", ""), str):
            return f"error decoding manager from managed fields entry {at}"
        if not fieldsets.valid(entry.get("fieldsV1", {})):
            return f"error decoding versioned set from managed fields entry {at}"
    return ""


def manager_errors(manager: str, path: str) -> list[FieldError]:
    """What is wrong with the name of a manager that a client gives."""
    errors = [too_long(path, MAX_MANAGER)] if len(manager.encode()) > MAX_MANAGER else []
    position = 0
    for char in manager:
        if not char.isprintable():
            errors.append(
                invalid(path, manager, f"invalid character U+{ord(char):04X} (at position {position})")
            )
        position += len(char.encode())
    return errors


def entry_errors(entries: Iterable[Entry]) -> list[FieldError]:
    """What is wrong with entries that can be kept: a client may have set them itself."""
    errors: list[FieldError] = []
    for at, entry in enumerate(entries):
        manager, subresource = entry.get("manager") or "", entry.get("subresource")
        if len(manager) > MAX_MANAGER or not manager.isascii() or not manager.isprintable():
            errors += manager_errors(manager, f"metadata.managedFields[{at}].manager")
        if subresource and len(subresource.encode()) > MAX_SUBRESOURCE:
            errors.append(too_long(f"metadata.managedFields[{at}].subresource", MAX_SUBRESOURCE))
    return errors


def changes(old: Object | None, new: Object, schema: Schema | None) -> tuple[Fields, Fields]:
    """(added or modified, removed) between two objects, without what belongs to nobody.

    The objects' managedFields must be absent or equal.
    """
    before = _skeleton(new, schema) if old is None else old
    if is_built_in(schema) and "status" in new and "status" not in before:
        before = {**before, "status": {}}
    changed: Fields = {}
    removed: Fields = {}
    compare(shape_of(schema), before, new, changed, removed)
    return fieldsets.difference(changed, STRIPPED), fieldsets.difference(removed, STRIPPED)


def is_built_in(schema: Schema | None) -> bool:
    """Whether objects of this schema are Go structs to upstream, not free documents."""
    return schema is not None and "x-kubernetes-group-version-kind" in schema.document


def _skeleton(new: Object, schema: Schema | None) -> Object:
    """What an object has before anything is set: a custom resource nothing but metadata."""
    if schema is None or not is_built_in(schema):
        return {"metadata": {}}
    return _bones(new, schema)


def _bones(value: Mapping[str, Any], schema: Schema) -> Object:
    bones: Object = {}
    for name, child in value.items():
        if isinstance(child, dict):
            below = schema.properties.get(name) if name in _VALUE_STRUCTS else None
            if below is not None:
                bones[name] = _bones(child, below)
        elif isinstance(child, list) and name in schema.required:
            bones[name] = []
    return bones


def taken(
    entries: Iterable[Entry],
    changed: Fields,
    removed: Fields,
    *,
    manager: str,
    operation: str,
    api_version: str,
    subresource: str,
    now: float,
) -> list[Entry]:
    """The entries after ``manager`` took ``changed`` from everybody and ``removed`` vanished."""
    kept: list[Entry] = []
    own: Fields = {}
    found: Entry | None = None
    for entry in entries:
        fields = entry.get("fieldsV1") or {}
        left = fieldsets.difference(fields, removed)
        if identity(entry) == (manager, operation, api_version, subresource):
            found, own = entry, fieldsets.union(own, left)
            continue
        left = fieldsets.difference(left, changed)
        if left:
            kept.append(entry if left is fields else entry | {"fieldsV1": left})
    own = fieldsets.union(own, changed)
    if own:
        if found is not None and not changed:
            kept.append(found | {"fieldsV1": own})
        else:
            kept.append(entry_for(manager, operation, api_version, subresource, now, own))
    return ordered(capped(kept))


def identity(entry: Entry) -> tuple[str, str, str, str]:
    """(manager, operation, apiVersion, subresource); an applier is the same whatever the version."""
    return (
        entry.get("manager", ""),
        entry.get("operation", ""),
        entry.get("apiVersion", "") if entry.get("operation") != APPLY else "",
        entry.get("subresource", ""),
    )


def entry_for(
    manager: str, operation: str, api_version: str, subresource: str, now: float, fields: Fields
) -> Entry:
    entry: Entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": objects.rfc3339(now),
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldsets.ordered(fields),
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def ordered(entries: list[Entry]) -> list[Entry]:
    """By operation, then time, then name, as Kubernetes lists them."""
    if len(entries) > 1:
        entries.sort(
            key=lambda e: (
                e.get("operation", ""),
                e.get("time") or "",
                e.get("manager", ""),
                e.get("apiVersion", ""),
                e.get("subresource", ""),
            )
        )
    return entries


def capped(entries: list[Entry]) -> list[Entry]:
    """At most ten updaters: the oldest of each version are merged into ``ancient-changes``."""
    updaters = [entry for entry in entries if entry.get("operation") == UPDATE]
    excess = len(updaters) - UPDATERS_LIMIT
    if excess <= 0:
        return entries
    updaters.sort(key=lambda e: (e.get("time") or "", e.get("manager", "")))
    buckets: dict[str, Entry] = {}
    gone: list[Entry] = []
    for entry in updaters:
        if excess <= 0:
            break
        version = entry.get("apiVersion", "")
        bucket = buckets.get(version)
        if bucket is None:
            buckets[version] = entry | {"manager": ANCIENT}
            buckets[version].pop("subresource", None)
        else:
            bucket["fieldsV1"] = fieldsets.union(bucket.get("fieldsV1") or {}, entry.get("fieldsV1") or {})
            bucket["time"] = entry.get("time")
            excess -= 1
        gone.append(entry)
    merged = {version: sum(e.get("apiVersion", "") == version for e in gone) > 1 for version in buckets}
    result = [e for e in entries if not any(e is g and merged[e.get("apiVersion", "")] for g in gone)]
    return result + [bucket for version, bucket in buckets.items() if merged[version]]


# -- the scale subresource --

_REPLICAS: Fields = {"f:spec": {"f:replicas": LEAF}}


def narrowed(entries: Iterable[Entry], path: str, api_version: str) -> list[Entry]:
    """Who owns the replicas, which are at ``path`` (``.spec.replicas``), as entries of a Scale.

    Source: apimachinery's managedfields/scalehandler.go.
    """
    return [
        entry | {"apiVersion": api_version, "fieldsV1": _REPLICAS}
        for entry in entries
        if _has(entry.get("fieldsV1") or {}, _steps(path))
    ]


def widened(entries: Iterable[Entry], of_scale: Iterable[Entry], path: str, api_version: str) -> list[Entry]:
    """The object's entries after a write of its Scale left ``of_scale``: the replicas belong to whom it names."""
    own: Fields = {}
    for step in reversed(_steps(path)):
        own = {step: own or LEAF}
    scale = ["f:spec", "f:replicas"]
    owners = {_scaler(entry): entry for entry in of_scale if _has(entry.get("fieldsV1") or {}, scale)}
    kept: list[Entry] = []
    for entry in entries:
        fields = entry.get("fieldsV1") or {}
        if _has(fields, _steps(path)) and owners.pop(_scaler(entry), None) is None:
            fields = fieldsets.difference(fields, own)
            entry = entry | {"fieldsV1": fields}
        if fields:
            kept.append(entry)
    kept += [entry | {"apiVersion": api_version, "fieldsV1": own} for entry in owners.values()]
    return ordered(kept)


def _scaler(entry: Entry) -> tuple[str, str, str]:
    return entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")


def _steps(path: str) -> list[str]:
    return [f"f:{name}" for name in path.strip(".").split(".")]


def _has(fields: Fields, steps: list[str]) -> bool:
    for step in steps:
        if step not in fields:
            return False
        fields = fields[step]
    return True
