"""The history of an owner's template as ControllerRevisions (StatefulSets and DaemonSets).

Source: kube-controller-manager's controller history: a revision's ``data`` is a patch that restores the template, its
name ends in a hash of that data, its number is the position in history; going back to an old template renumbers the
old revision instead of making a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sublet.client.client import Client
from sublet.machinery import codec, objects, owners
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import AlreadyExists, NotFound

CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", True)
HASH_LABEL = "controller.kubernetes.io/hash"
_NAME_LIMIT = 223
"""What of an owner's name goes into a revision's name (upstream's limit)."""


def template_data(owner: Object) -> Object:
    """The patch that restores the owner's present template."""
    template = dict((owner.get("spec") or {}).get("template") or {})
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def data_hash(data: Object, collisions: int = 0) -> str:
    """A short, safe text that differs for different data (keys in any order) and collision counts."""
    text = codec.encode_json(_sorted(data)) + (str(collisions).encode() if collisions else b"")
    return owners.safe_encoded(str(owners.fnv1a_32(text)))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def by_age(revisions: Iterable[Object]) -> list[Object]:
    """Oldest first: by number, creation time and name."""
    return sorted(
        revisions,
        key=lambda r: (r.get("revision", 0), r["metadata"].get("creationTimestamp", ""), objects.name(r)),
    )


def equal(one: Object, other: Object) -> bool:
    """Whether two revisions stand for the same template."""
    return bool(one.get("data") == other.get("data"))


def next_number(revisions: Sequence[Object]) -> int:
    return max((int(r.get("revision", 0)) for r in revisions), default=0) + 1


def new_revision(
    owner: Object, owner_resource: Resource, labels: dict[str, str], number: int, collisions: int = 0
) -> Object:
    """The revision of the owner's present template, not yet written."""
    data = template_data(owner)
    suffix = data_hash(data, collisions)
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{objects.name(owner)[:_NAME_LIMIT]}-{suffix}",
            "namespace": objects.namespace(owner),
            "labels": {**labels, HASH_LABEL: suffix},
            "annotations": dict(owner["metadata"].get("annotations") or {}),
            "ownerReferences": [objects.owner_reference(owner, owner_resource)],
        },
        "data": data,
        "revision": number,
    }


class History:
    """Reads and writes the revisions of owners of ``owner_resource``."""

    def __init__(self, client: Client, owner_resource: Resource) -> None:
        self._client = client
        self._owner_resource = owner_resource

    async def current(
        self, owner: Object, revisions: Sequence[Object], labels: dict[str, str], collisions: int = 0
    ) -> tuple[Object, int]:
        """The revision of the owner's present template, created or renumbered as needed, and the collision count.

        ``revisions`` are those the owner controls; ``labels`` are its template's, for its selector to find.
        """
        wanted = new_revision(owner, self._owner_resource, labels, next_number(revisions), collisions)
        same = [revision for revision in by_age(revisions) if equal(revision, wanted)]
        if not same:
            return await self._create(owner, wanted, labels, collisions)
        newest = same[-1]
        if newest["revision"] == next_number(revisions) - 1:
            return newest, collisions
        patch = {"revision": wanted["revision"]}
        name = objects.name(newest)
        return await self._client.patch(
            CONTROLLER_REVISIONS, name, patch, objects.namespace(owner)
        ), collisions

    async def _create(
        self, owner: Object, wanted: Object, labels: dict[str, str], collisions: int
    ) -> tuple[Object, int]:
        while True:
            try:
                return await self._client.create(CONTROLLER_REVISIONS, wanted), collisions
            except AlreadyExists:
                taken = await self._client.get(
                    CONTROLLER_REVISIONS, objects.name(wanted), objects.namespace(wanted)
                )
                if equal(taken, wanted):
                    return taken, collisions
                collisions += 1
                wanted = new_revision(owner, self._owner_resource, labels, wanted["revision"], collisions)

    async def clean(self, revisions: Sequence[Object], live: Iterable[str], limit: int) -> None:
        """Deletes the oldest revisions beyond ``limit`` that no name of ``live`` (current, update, pods') needs."""
        needed = set(live)
        unused = [revision for revision in by_age(revisions) if objects.name(revision) not in needed]
        for revision in unused[: max(0, len(unused) - limit)]:
            try:
                await self._client.delete(
                    CONTROLLER_REVISIONS, objects.name(revision), objects.namespace(revision)
                )
            except NotFound:
                continue
