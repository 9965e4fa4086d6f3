"""Who owns whom, kept small: objects that neither have owners nor wait for dependents are only known by uid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sublet.machinery.kind import Object, Resource

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner reference."""

    uid: str
    api_version: str
    kind: str
    name: str
    blocks: bool


@dataclass(slots=True)
class Node:
    """An object with owners, or one that waits for its dependents."""

    uid: str
    resource: Resource
    namespace: str
    name: str
    owners: tuple[Owner, ...] = ()
    deleting: bool = False
    orphaning: bool = False
    waiting: bool = False
    """Being deleted in the foreground: it stays until the dependents that block it are gone."""

    def blocks(self, owner_uid: str) -> bool:
        return any(owner.uid == owner_uid and owner.blocks for owner in self.owners)


def owners_of(metadata: Object) -> tuple[Owner, ...]:
    return tuple(
        Owner(
            reference.get("uid", ""),
            reference.get("apiVersion", ""),
            reference.get("kind", ""),
            reference.get("name", ""),
            bool(reference.get("blockOwnerDeletion")),
        )
        for reference in metadata.get("ownerReferences") or ()
    )


Place = tuple[Resource, str]
"""(resource, namespace)"""


class Graph:
    """Takes in what watches tell; says by ``check`` (may have to go) and ``orphan`` (lets dependents go) what follows."""

    def __init__(self, check: Callable[[str], None], orphan: Callable[[str], None]) -> None:
        self._check = check
        self._orphan = orphan
        self._places: dict[Place, Place] = {}
        self.nodes: dict[str, Node] = {}
        self.present: dict[str, Place] = {}
        """Every object that was seen and not deleted since: uid -> where it is."""
        self._dependents: dict[str, dict[str, Node]] = {}

    def dependents(self, uid: str) -> list[Node]:
        return list(self._dependents.get(uid, {}).values())

    def seen(self, resource: Resource, obj: Object) -> None:
        """An object was added or changed; only its metadata is read."""
        metadata: dict[str, Any] = obj.get("metadata") or {}
        uid = metadata.get("uid")
        if not uid:
            return
        place = (resource, metadata.get("namespace") or "")
        self.present[uid] = self._places.setdefault(place, place)
        finalizers = metadata.get("finalizers") or ()
        deleting = bool(metadata.get("deletionTimestamp"))
        owners = owners_of(metadata)
        node = self.nodes.get(uid)
        if node is None:
            if not owners and not (deleting and finalizers):
                return
            node = self.nodes[uid] = Node(uid, resource, place[1], metadata["name"])
        if owners != node.owners:
            self._reown(node, owners)
        node.deleting = deleting
        self._transitions(node, deleting and ORPHAN in finalizers, deleting and FOREGROUND in finalizers)

    def gone(self, uid: str) -> None:
        """An object was deleted: its dependents may have to follow, an owner may have waited for it."""
        self.present.pop(uid, None)
        if (node := self.nodes.pop(uid, None)) is not None:
            for owner in node.owners:
                self._unlink(owner.uid, uid)
                self._wake(owner.uid)
        for dependent in self.dependents(uid):
            self._check(dependent.uid)

    def missing(self, resource: Resource, there: Iterable[str]) -> list[str]:
        """The uids of a resource that a fresh list does not hold any more."""
        listed = set(there)
        return [uid for uid, place in self.present.items() if place[0] == resource and uid not in listed]

    def knows(self, owner: Owner, namespace: str) -> bool:
        """Whether an owner lives as the reference says, seen from a dependent in ``namespace``."""
        place = self.present.get(owner.uid)
        if place is None:
            return False
        resource, where = place
        group = owner.api_version.rpartition("/")[0]
        return (
            resource.kind == owner.kind
            and resource.group == group
            and (not resource.namespaced or where == namespace)
        )

    def _reown(self, node: Node, owners: tuple[Owner, ...]) -> None:
        before = {owner.uid: owner for owner in node.owners}
        after = {owner.uid: owner for owner in owners}
        node.owners = owners
        for uid, owner in before.items():
            if uid not in after:
                self._unlink(uid, node.uid)
            if owner.blocks and not (uid in after and after[uid].blocks):
                self._wake(uid)
        for uid, owner in after.items():
            if uid not in before:
                self._dependents.setdefault(uid, {})[node.uid] = node
                above = self.nodes.get(uid)
                if not self.knows(owner, node.namespace) or (above is not None and above.waiting):
                    self._check(node.uid)

    def _unlink(self, owner: str, dependent: str) -> None:
        held = self._dependents.get(owner)
        if held is not None:
            held.pop(dependent, None)
            if not held:
                del self._dependents[owner]

    def _wake(self, owner: str) -> None:
        above = self.nodes.get(owner)
        if above is not None and above.waiting:
            self._check(owner)

    def _transitions(self, node: Node, orphaning: bool, waiting: bool) -> None:
        if orphaning and not node.orphaning:
            self._orphan(node.uid)
        if waiting and not node.waiting:
            node.waiting = True
            for dependent in self.dependents(node.uid):
                self._check(dependent.uid)
            self._check(node.uid)
        node.orphaning, node.waiting = orphaning, waiting
