"""Claims on objects, pods made for an owner, and the history of its template, on a real API server."""

from __future__ import annotations

import copy

import pytest

from sublet.client.events import EVENTS, EventRecorder
from sublet.kinds.resources import resource
from sublet.machinery import objects, selectors
from sublet.machinery.status import Conflict, Forbidden
from sublet.reconcile.podcontrol import PodControl
from sublet.reconcile.refs import ControllerRefs
from sublet.reconcile.revisions import CONTROLLER_REVISIONS, History
from sublet.reconcile.workloads import pod_from_template

PODS, SETS = resource("pods"), resource("replicasets.apps")
TEMPLATE = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "image": "busybox"}]},
}


@pytest.fixture
async def owner(client):
    await client.create(resource("serviceaccounts"), {"metadata": {"name": "default"}}, "default")
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}
    return await client.create(SETS, {"metadata": {"name": "rs"}, "spec": spec}, "default")


def refs(client, owner):
    return ControllerRefs(client, PODS, owner, SETS, selectors.from_labels({"app": "x"}))


async def pod(client, name, labels, owner_reference=None):
    metadata = {"name": name, "labels": labels}
    if owner_reference:
        metadata["ownerReferences"] = [owner_reference]
    return await client.create(PODS, {"metadata": metadata, "spec": TEMPLATE["spec"]}, "default")


async def test_orphans_that_match_are_adopted_and_others_left_alone(client, owner):
    mine, other = await pod(client, "a", {"app": "x"}), await pod(client, "b", {"app": "y"})
    claimed = await refs(client, owner).claim([mine, other])
    assert [objects.name(p) for p in claimed] == ["a"]
    reference = objects.controller_of(await client.get(PODS, "a", "default"))
    assert (reference["uid"], reference["kind"]) == (objects.uid(owner), "ReplicaSet")
    assert objects.controller_of(await client.get(PODS, "b", "default")) is None


async def test_what_no_longer_matches_is_released(client, owner):
    made = await pod(client, "a", {"app": "y"}, objects.owner_reference(owner, SETS))
    assert await refs(client, owner).claim([made]) == []
    assert objects.owners(await client.get(PODS, "a", "default")) == []


async def test_an_owner_that_was_replaced_adopts_nothing(client, owner):
    orphan = await pod(client, "a", {"app": "x"})
    stale = copy.deepcopy(owner)
    stale["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(Conflict):
        await refs(client, stale).claim([orphan])
    assert objects.controller_of(await client.get(PODS, "a", "default")) is None


async def test_a_pod_of_an_owner_gets_a_generated_name_and_an_event(client, owner):
    events = EventRecorder(client, "replicaset-controller")
    control = PodControl(client, events, SETS)
    reference = objects.owner_reference(owner, SETS)
    made = await control.create(owner, pod_from_template(TEMPLATE, owner=reference, generate_name="rs-"))
    assert objects.name(made).startswith("rs-")
    assert await control.delete(owner, made)
    assert not await control.delete(owner, made)
    await events.flush()
    messages = {e["reason"]: e["message"] for e in (await client.list(EVENTS, "default"))["items"]}
    assert messages == {
        "SuccessfulCreate": f"Created pod: {objects.name(made)}",
        "SuccessfulDelete": f"Deleted pod: {objects.name(made)}",
    }


async def test_a_pod_that_is_refused_is_told_and_raised(client, owner):
    events = EventRecorder(client, "replicaset-controller")
    control = PodControl(client, events, SETS)
    template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "serviceAccountName": "nobody"}}
    with pytest.raises(Forbidden):
        await control.create(owner, pod_from_template(template, owner=None, generate_name="rs-"))
    await events.flush()
    (event,) = (await client.list(EVENTS, "default"))["items"]
    assert (event["type"], event["reason"]) == ("Warning", "FailedCreate")
    assert event["message"].startswith("Error creating: ")


async def history_of(client, owner, image):
    changed = copy.deepcopy(owner)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = image
    revisions = (await client.list(CONTROLLER_REVISIONS, "default"))["items"]
    current, collisions = await History(client, SETS).current(changed, revisions, {"app": "x"})
    return current, collisions


async def test_a_changed_template_is_a_new_revision_and_an_old_one_comes_back_with_a_new_number(
    client, owner
):
    one, _ = await history_of(client, owner, "one")
    same, _ = await history_of(client, owner, "one")
    two, _ = await history_of(client, owner, "two")
    back, _ = await history_of(client, owner, "one")
    assert objects.name(one) == objects.name(same) == objects.name(back) != objects.name(two)
    assert [one["revision"], same["revision"], two["revision"], back["revision"]] == [1, 1, 2, 3]


async def test_old_revisions_beyond_the_limit_go_and_live_ones_stay(client, owner):
    made = [(await history_of(client, owner, str(n)))[0] for n in range(5)]
    await History(client, SETS).clean(made, [objects.name(made[0])], 2)
    left = (await client.list(CONTROLLER_REVISIONS, "default"))["items"]
    assert sorted(r["revision"] for r in left) == [1, 4, 5]


async def test_a_revision_name_taken_by_other_data_counts_as_a_collision(client, owner):
    one, collisions = await history_of(client, owner, "one")
    assert collisions == 0
    await client.delete(CONTROLLER_REVISIONS, objects.name(one), "default")
    thief = {"metadata": {"name": objects.name(one)}, "data": {"other": True}, "revision": 1}
    await client.create(CONTROLLER_REVISIONS, thief, "default")
    again, collisions = await history_of(client, owner, "one")
    assert collisions == 1
    assert objects.name(again) != objects.name(one)
