"""What a write is made of: who asks and how, what comes out, and what the server does around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from sublet.apiserver import objectmeta
from sublet.apiserver.admission.framework import Attributes
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.options import WriteOptions
from sublet.apiserver.spoken import Spoken
from sublet.apiserver.watchcache import CachedEntry
from sublet.client.exchange import User
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.managedfields import EVERYTHING, Scope
from sublet.machinery.status import BadRequest, FieldError
from sublet.store.interface import Entry

Value = Entry | CachedEntry
"""Anything with a key, stored bytes and their revision."""

Change = Callable[[Object | None], Object]
"""From the current object (a copy of its own, in the version asked for; None where nothing is) to the new one."""


SYSTEM_USER = User("system:apiserver", ("system:masters", "system:authenticated"))
"""As whom the server itself writes."""


class Write(Struct):
    """Who writes, how, and what they are told besides the result."""

    user: User
    resource: Resource
    """The served version the client speaks."""
    options: WriteOptions = field(default_factory=WriteOptions)
    subresource: str = ""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """What admission notes for the audit log."""
    applied: bool = False
    """The change is server-side apply's and has set managedFields itself."""
    unowned: bool = False
    """What it writes becomes nobody's: a pod's node, which no client can set either."""
    patched: bool = False
    """The object comes from a patch, applied or other."""
    admitted: bool = False
    """Admission has been asked about what the client sent, which is not the object itself."""
    present: Callable[[Object], Object] | None = None
    """What webhooks and policies see instead of the object: its Scale."""
    take: Callable[[Object, Object], None] | None = None
    """(object, Scale): lays what admission made of the Scale over the object. Raises ``StatusError``."""
    may_create: Callable[[], Awaitable[None]] | None = None
    """Raises ``Forbidden`` unless who changes an object may also create it; asked where the change does so."""
    prepare: Callable[[Object, Object], None] | None = None
    """(new, old) in the stored version: restores what this subresource may not change; None: the usual."""
    validate: Callable[[Object, Object], Sequence[FieldError]] | None = None
    """(new, old): this subresource's rules instead of the usual ones."""
    spoken: Spoken | None = None
    """Set by the registry: the objects in :attr:`resource`, where a custom kind's rules are asked of that version."""
    size: int = 0
    """Bytes of what the client sent."""
    uid: str = ""
    """Of the object that a PUT means, where it says so."""


def admission_attributes(
    operation: str, kind: Kind, write: Write, new: Object | None, old: Object | None
) -> Attributes:
    """What admission sees of a write."""
    metadata: Mapping[str, Any] = (new or old or {}).get("metadata") or {}
    name = str(metadata.get("name") or "")
    return Attributes(
        operation,
        kind,
        write.resource,
        write.subresource,
        str(metadata.get("namespace") or ""),
        name or str(metadata.get("generateName") or ""),
        new,
        old,
        write.user,
        write.options.dry_run,
        write.options.body,
        write.warnings,
        annotations=write.annotations,
        generated=not name,
    )


class Written(Struct):
    """The object as it stands now. ``revision`` 0: a dry run made it and nothing is stored."""

    object: Object
    """In the stored version, with its resourceVersion."""
    value: bytes
    revision: int
    created: bool = False
    deleted: bool = False
    shown: Object | None = None
    """The object in the version the client speaks, where a webhook converts to it."""


class Transaction(Protocol):
    """Something reserved for a write (an IP, a port)."""

    async def commit(self) -> None: ...

    async def undo(self) -> None: ...


Judge = Callable[[Object, Object | None, Write], Awaitable[Sequence[FieldError]]]
"""(new, old or None, who writes and how) -> errors. May take its time: both objects are left alone meanwhile."""


class Duty(Protocol):
    """What the server does around the writes of one kind besides storing."""

    async def settle(self, kind: Kind, new: Object, old: Object | None) -> None:
        """Before the object is judged: fills in what hangs on the cluster. Raises a ``StatusError`` to refuse."""
        ...

    async def begin(self, new: Object | None, old: Object | None, dry_run: bool) -> Transaction | None:
        """Before the write; may fill in ``new``. Raises a ``StatusError`` to refuse."""
        ...

    async def wrote(self, new: Object | None, old: Object | None) -> None:
        """After a write that stands; ``new`` None: the object is gone."""
        ...


def restore(new: Object, old: Object, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


_RESTORED = ("labels", "annotations", "finalizers", "ownerReferences")
"""What of the metadata an endpoint that leaves it alone restores; the rest no client changes anywhere."""


def keep_all_but_status(new: Object, old: Object, kind: Kind) -> None:
    """Restores in place what ``/status`` does not write: all besides status and what of the metadata the kind lets through."""
    for key in [*new, *old]:
        if key not in ("metadata", "status", "apiVersion", "kind"):
            restore(new, old, key)
    reset = kind.reset.get("status", ("metadata",))
    for key in _RESTORED:
        if "metadata" in reset or f"metadata.{key}" in reset:
            restore(new["metadata"], old["metadata"], key)


def scope(kind: Kind, version: str, subresource: str) -> Scope:
    """What can be owned through an endpoint of a kind."""
    if not subresource and "status" not in kind.below(version):
        return EVERYTHING
    return Scope(_paths(kind.reset.get(subresource, ())), _paths(kind.only.get(subresource, ())))


def versions(kind: Kind) -> frozenset[str]:
    """The API versions (``apps/v1``) that a kind has, served or not: what was owned in others is forgotten."""
    known = {resource.api_version for resource in kind.served()}
    if isinstance(kind, CustomKind):
        known |= {f"{kind.resource.group}/{version}" for version in kind.schemas}
    return frozenset(known)


def _paths(stated: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(step if step == "*" else f"f:{step}" for step in path.split(".")) for path in stated)


def unchanged(new: Object, old: Object) -> bool:
    """Whether nothing but times in managedFields differs; those alone are not worth a write."""
    before, after = old["metadata"], new["metadata"]
    for key in after.keys() | before.keys():
        if key not in ("managedFields", "resourceVersion") and after.get(key) != before.get(key):
            return False
    for key in new.keys() | old.keys():
        if key != "metadata" and new.get(key) != old.get(key):
            return False
    return _timeless(after) == _timeless(before)


def _timeless(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in metadata.get("managedFields") or ()]


def name_matches(obj: Object, name: str) -> None:
    """Raises ``BadRequest`` when an object names another than the URL."""
    stated = objectmeta.metadata_of(obj).get("name") or ""
    if stated and stated != name:
        raise BadRequest(f"the name of the object ({stated}) does not match the name on the URL ({name})")
