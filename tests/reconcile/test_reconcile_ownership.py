"""Claims on objects and the history of a template, on a real API server."""

from __future__ import annotations

import asyncio
import copy
import random

import pytest

from sublet.client.events import EventRecorder
from sublet.client.informer import InformerFactory
from sublet.kinds.resources import resource
from sublet.machinery import objects, selectors
from sublet.machinery.clock import SystemClock
from sublet.reconcile import history, ownership
from sublet.reconcile.manager import Context

PODS, SETS = resource("pods"), resource("statefulsets.apps")
TEMPLATE = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "image": "busybox"}]},
}


@pytest.fixture
async def owner(client):
    await client.create(resource("serviceaccounts"), {"metadata": {"name": "default"}}, "default")
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE, "serviceName": "x"}
    return await client.create(SETS, {"metadata": {"name": "set"}, "spec": spec}, "default")


async def claim(client, owner, *candidates):
    reference = objects.owner_reference(owner, SETS)
    selector = selectors.from_labels({"app": "x"})
    alive = ownership.lives(client, SETS, owner)
    claimed = await ownership.claim(client, PODS, owner, reference, selector, candidates, alive)
    return [objects.name(pod) for pod in claimed]


async def pod(client, name, labels, owner_reference=None):
    metadata = {"name": name, "labels": labels}
    if owner_reference:
        metadata["ownerReferences"] = [owner_reference]
    return await client.create(PODS, {"metadata": metadata, "spec": TEMPLATE["spec"]}, "default")


async def test_orphans_that_match_are_adopted_and_others_left_alone(client, owner):
    mine, other = await pod(client, "a", {"app": "x"}), await pod(client, "b", {"app": "y"})
    assert await claim(client, owner, mine, other) == ["a"]
    reference = objects.controller_of(await client.get(PODS, "a", "default"))
    assert (reference["uid"], reference["kind"]) == (objects.uid(owner), "StatefulSet")
    assert objects.controller_of(await client.get(PODS, "b", "default")) is None


async def test_what_no_longer_matches_is_released(client, owner):
    made = await pod(client, "a", {"app": "y"}, objects.owner_reference(owner, SETS))
    assert await claim(client, owner, made) == []
    assert objects.owners(await client.get(PODS, "a", "default")) == []


async def test_what_another_owns_is_left_to_it(client, owner):
    other = {**objects.owner_reference(owner, SETS), "name": "other", "uid": "other"}
    made = await pod(client, "a", {"app": "x"}, other)
    assert await claim(client, owner, made) == []
    assert objects.controller_of(await client.get(PODS, "a", "default"))["uid"] == "other"


async def test_an_owner_that_was_replaced_adopts_nothing(client, owner):
    orphan = await pod(client, "a", {"app": "x"})
    stale = copy.deepcopy(owner)
    stale["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert await claim(client, stale, orphan) == []
    assert objects.controller_of(await client.get(PODS, "a", "default")) is None


async def test_an_object_that_is_gone_is_not_claimed(client, owner):
    orphan = await pod(client, "a", {"app": "x"})
    await client.delete(PODS, "a", "default", grace=0)
    assert await claim(client, owner, orphan) == []


@pytest.fixture
async def revisions(client):
    informers = InformerFactory(client)
    events = EventRecorder(client, "test")
    context = Context(client, informers, events, SystemClock(), random.Random(1))
    made = history.History(context, SETS)
    await informers.start()
    await asyncio.wait_for(informers.synced(), 5)
    yield made
    await informers.stop()


async def sync(revisions, owner, image):
    changed = copy.deepcopy(owner)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = image
    revised = await revisions.sync(changed, {"app": "x"})
    async with asyncio.timeout(5):
        while revisions.informer.get("default", objects.name(revised.update)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return revised


async def test_a_changed_template_is_a_new_revision_and_an_old_one_comes_back_with_a_new_number(
    revisions, owner
):
    made = [(await sync(revisions, owner, image)).update for image in ("one", "one", "two", "one")]
    assert [revision["revision"] for revision in made] == [1, 1, 2, 3]
    names = [objects.name(revision) for revision in made]
    assert names[0] == names[1] == names[3] != names[2]


async def test_old_revisions_beyond_the_limit_go_and_live_ones_stay(client, revisions, owner):
    for number in range(5):
        revised = await sync(revisions, owner, str(number))
    limited = {**owner, "spec": {**owner["spec"], "revisionHistoryLimit": 2}}
    live = frozenset({objects.name(revised.revisions[0])})
    await revisions.truncate(limited, revised.revisions, live)
    left = (await client.list(history.REVISIONS, "default"))["items"]
    assert sorted(revision["revision"] for revision in left) == [1, 4, 5]


async def test_a_revision_name_that_is_taken_counts_as_a_collision(client, revisions, owner):
    first = await sync(revisions, owner, "one")
    name = objects.name(first.update)
    await client.delete(history.REVISIONS, name, "default")
    thief = {"metadata": {"name": name}, "data": {"other": True}, "revision": 1}
    await client.create(history.REVISIONS, thief, "default")
    async with asyncio.timeout(5):
        while (revisions.informer.get("default", name) or {}).get("data") != {"other": True}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    again = await sync(revisions, owner, "one")
    assert again.collisions == 1
    assert objects.name(again.update) != name
