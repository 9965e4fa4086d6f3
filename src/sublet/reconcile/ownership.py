"""Adopting and releasing: which objects a controlling owner has, by selector and owner reference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from sublet.client.client import Client
from sublet.machinery import objects, owners
from sublet.machinery.kind import Object, Resource
from sublet.machinery.owners import Claim
from sublet.machinery.selectors import Selector
from sublet.machinery.status import Invalid, NotFound, StatusError


async def claim(
    client: Client,
    resource: Resource,
    owner: Object,
    reference: Object,
    selector: Selector,
    candidates: Iterable[Object],
    still_there: Callable[[], Awaitable[bool]],
    *,
    finalizers: tuple[str, ...] = (),
    may_adopt: Callable[[Object], bool] = lambda _obj: True,
) -> list[Object]:
    """The candidates that ``owner`` controls after adopting matching orphans and releasing what matches no more.

    ``reference`` is the owner reference to write, ``still_there`` asks the API (not a cache) whether the owner
    lives; it is asked once, before the first adoption. ``finalizers`` are added on adoption and removed on release.
    """
    owned: list[Object] = []
    allowed: bool | None = None
    for obj in candidates:
        decision = owners.claim(obj, owner, selector)
        if decision is Claim.OWNED:
            owned.append(obj)
        elif decision is Claim.RELEASE:
            await _patch(client, resource, obj, owners.release_patch(obj, objects.uid(owner), finalizers))
        elif decision is Claim.ADOPT and may_adopt(obj):
            if allowed is None:
                allowed = await still_there()
            if not allowed:
                continue
            adopted = await _patch(client, resource, obj, owners.adoption_patch(obj, reference, finalizers))
            if adopted is not None:
                owned.append(adopted)
    return owned


def lives(client: Client, resource: Resource, owner: Object) -> Callable[[], Awaitable[bool]]:
    """Asks the API whether this very owner (by uid) is there and not being deleted."""

    async def ask() -> bool:
        try:
            fresh = await client.get(resource, objects.name(owner), objects.namespace(owner))
        except NotFound:
            return False
        return objects.uid(fresh) == objects.uid(owner) and not objects.is_deleting(fresh)

    return ask


async def _patch(client: Client, resource: Resource, obj: Object, patch: Object) -> Object | None:
    """None where the object is gone or another one has its name by now."""
    try:
        return await client.patch(
            resource, objects.name(obj), patch, objects.namespace(obj), kind="strategic"
        )
    except (NotFound, Invalid):
        return None
    except StatusError as error:
        if error.reason == "Conflict":
            return None
        raise
