"""Which objects an owner controls: adopting those that match and have no controller, releasing those that no longer match.

Source: client-go's ControllerRefManager. Before the first adoption the owner is read live: an owner that was deleted,
or replaced by another of its name, must adopt nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sublet.client.client import Client
from sublet.machinery import objects, owners
from sublet.machinery.kind import Object, Resource
from sublet.machinery.selectors import Selector
from sublet.machinery.status import Invalid, NotFound, StatusError, conflict


class ControllerRefs:
    """The claims of one owner on objects of one resource, during one reconciliation.

    ``matches`` narrows what may be adopted or kept beyond ``selector`` (a StatefulSet looks at names too).
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        owner: Object,
        owner_resource: Resource,
        selector: Selector,
        *,
        matches: Callable[[Object], bool] = lambda _obj: True,
        finalizers: Iterable[str] = (),
    ) -> None:
        self._client = client
        self._resource = resource
        self._owner = owner
        self._owner_resource = owner_resource
        self._selector = selector
        self._matches = matches
        self._finalizers = tuple(finalizers)
        self._may_adopt: bool | None = None

    async def claim(self, candidates: Iterable[Object]) -> list[Object]:
        """Those of ``candidates`` (of the owner's namespace) that it controls, adopted ones as the server returned them.

        Tries all of them before it raises the first error.
        """
        claimed: list[Object] = []
        first_error: StatusError | None = None
        for obj in candidates:
            try:
                kept = await self._claim_one(obj)
            except StatusError as error:
                first_error = first_error or error
                continue
            if kept is not None:
                claimed.append(kept)
        if first_error is not None:
            raise first_error
        return claimed

    async def _claim_one(self, obj: Object) -> Object | None:
        what = owners.claim(obj, self._owner, self._selector)
        if what in (owners.Claim.OWNED, owners.Claim.ADOPT) and not self._matches(obj):
            what = owners.Claim.RELEASE if what is owners.Claim.OWNED else owners.Claim.IGNORE
        if what is owners.Claim.OWNED:
            return obj
        if what is owners.Claim.ADOPT:
            return await self.adopt(obj)
        if what is owners.Claim.RELEASE and not objects.is_deleting(self._owner):
            await self.release(obj)
        return None

    async def adopt(self, obj: Object) -> Object | None:
        """The object with the owner as its controller; None where it is gone by now."""
        if not await self._owner_is_alive():
            return None
        reference = objects.owner_reference(self._owner, self._owner_resource)
        return await self._patch(obj, owners.adoption_patch(obj, reference, self._finalizers))

    async def release(self, obj: Object) -> Object | None:
        """Takes the owner's reference away; None where the object is gone or another's by now."""
        try:
            return await self._patch(
                obj, owners.release_patch(obj, objects.uid(self._owner), self._finalizers)
            )
        except Invalid:
            return None

    async def _patch(self, obj: Object, patch: Object) -> Object | None:
        try:
            return await self._client.patch(
                self._resource, objects.name(obj), patch, objects.namespace(obj), kind="strategic"
            )
        except NotFound:
            return None

    async def _owner_is_alive(self) -> bool:
        if self._may_adopt is None:
            owner = self._owner
            try:
                live = await self._client.get(
                    self._owner_resource, objects.name(owner), objects.namespace(owner)
                )
            except NotFound:
                live = {}
            if live and objects.uid(live) != objects.uid(owner):
                where = self._owner_resource
                raise conflict(
                    where.group, where.plural, objects.name(owner), "it was replaced by another of its name"
                )
            self._may_adopt = bool(live) and not objects.is_deleting(live)
        return self._may_adopt
