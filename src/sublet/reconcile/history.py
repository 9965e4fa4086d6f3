"""ControllerRevisions: the templates a StatefulSet or DaemonSet has had, so that it can tell old pods from new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.owners import template_hash
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile import ownership, workloads
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context

REVISIONS = resource("controllerrevisions.apps")
HASH_LABEL = "controller.kubernetes.io/hash"


def data_of(template: Object) -> Object:
    """A revision's ``data``: the strategic merge patch that puts this pod template back."""
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    """The pod template a revision holds."""
    template = dict(((revision.get("data") or {}).get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template


def number(revision: Object) -> int:
    return int(revision.get("revision") or 0)


def by_age(revisions: Sequence[Object]) -> list[Object]:
    """The oldest first: by revision, then by creation."""
    return sorted(revisions, key=lambda revision: (number(revision), *workloads.creation_key(revision)))


def surplus(
    revisions: Sequence[Object], in_use: frozenset[str], limit: int, *, counts_used: bool = False
) -> list[Object]:
    """The revisions to delete: the oldest of those no pod uses, beyond ``limit``.

    ``counts_used``: all but the present one count towards the limit, those that pods use included.
    """
    unused = [revision for revision in by_age(revisions) if objects.name(revision) not in in_use]
    counted = len(revisions) - 1 if counts_used else len(unused)
    return unused[: max(0, counted - limit)]


@dataclass(frozen=True)
class Revised:
    revisions: list[Object]
    """All revisions of the owner, the oldest first, ``update`` among them."""
    update: Object
    """The revision of the present template."""
    collisions: int | None
    """``status.collisionCount`` to keep."""


class History:
    """The revisions of owners of one kind."""

    def __init__(self, context: Context, owner: Resource, hash_label: str = HASH_LABEL) -> None:
        self._hash_label = hash_label
        self._client = context.client
        self._owner = owner
        self._latest = Latest()
        self.informer: Informer = context.informers.informer(REVISIONS)
        self.informer.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)

    async def sync(self, owner: Object, labels: Mapping[str, str]) -> Revised:
        """Makes sure a revision of the present template exists and is the newest. Raises ``StatusError``."""
        revisions = by_age(await self._owned(owner))
        template = owner["spec"]["template"]
        collisions = (owner.get("status") or {}).get("collisionCount")
        wanted = data_of(template)
        following = number(revisions[-1]) + 1 if revisions else 1
        equal = [revision for revision in revisions if revision.get("data") == wanted]
        if equal and equal[-1] is revisions[-1]:
            return Revised(revisions, equal[-1], collisions)
        if equal:
            renewed = await self._client.update(REVISIONS, {**equal[-1], "revision": following})
            self._latest.remember(renewed)
            others = [revision for revision in revisions if revision is not equal[-1]]
            return Revised([*others, renewed], renewed, collisions)
        created, collisions = await self._create(owner, wanted, following, collisions, labels)
        return Revised([*revisions, created], created, collisions)

    async def truncate(
        self, owner: Object, revisions: Sequence[Object], in_use: frozenset[str], *, counts_used: bool = False
    ) -> None:
        """Deletes what goes beyond ``spec.revisionHistoryLimit`` (10), see :func:`surplus`."""
        limit = owner["spec"].get("revisionHistoryLimit")
        limit = 10 if limit is None else int(limit)
        for revision in surplus(revisions, in_use, limit, counts_used=counts_used):
            try:
                await self._client.delete(REVISIONS, objects.name(revision), objects.namespace(revision))
            except NotFound:
                continue

    async def _owned(self, owner: Object) -> list[Object]:
        own = self.informer.by_index(workloads.CONTROLLER_INDEX, objects.uid(owner))
        orphans = self.informer.by_index(
            workloads.CONTROLLER_INDEX, workloads.orphan_key(objects.namespace(owner))
        )
        return await ownership.claim(
            self._client,
            REVISIONS,
            owner,
            objects.owner_reference(owner, self._owner),
            from_label_selector(owner["spec"].get("selector")),
            [self._latest.of(revision) for revision in (*own, *orphans)],
            ownership.lives(self._client, self._owner, owner),
        )

    async def _create(
        self,
        owner: Object,
        data: Object,
        revision: int,
        collisions: int | None,
        labels: Mapping[str, str],
    ) -> tuple[Object, int | None]:
        """A taken name is either the same revision, which the informer lacks yet, or a collision of hashes."""
        while True:
            hashed = template_hash(data, collisions)
            made = {
                "apiVersion": REVISIONS.api_version,
                "kind": REVISIONS.kind,
                "metadata": {
                    "name": f"{objects.name(owner)}-{hashed}",
                    "namespace": objects.namespace(owner),
                    "labels": {**labels, self._hash_label: hashed},
                    "annotations": dict(objects.annotations(owner)),
                    "ownerReferences": [objects.owner_reference(owner, self._owner)],
                },
                "data": data,
                "revision": revision,
            }
            try:
                return await self._client.create(REVISIONS, made), collisions
            except AlreadyExists:
                name = f"{objects.name(owner)}-{hashed}"
                found = await self._client.get(REVISIONS, name, objects.namespace(owner))
                controller = objects.controller_of(found) or {}
                if found.get("data") == data and controller.get("uid") == objects.uid(owner):
                    return found, collisions
                collisions = (collisions or 0) + 1
