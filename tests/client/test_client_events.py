"""Events are written behind the back of who records them, and repeats are counted."""

from __future__ import annotations

import pytest

from sublet.client.events import EVENTS, EventRecorder
from sublet.kinds.resources import resource

PODS = resource("pods")
POD = {"metadata": {"name": "p", "namespace": "default", "uid": "u1", "resourceVersion": "5"}}


@pytest.fixture
def recorder(client):
    return EventRecorder(client, "tester", "host-1")


async def events(client):
    return (await client.list(EVENTS, "default"))["items"]


async def test_an_event_says_what_happened_to_what(client, recorder):
    recorder.event(POD, PODS, "Normal", "Started", "it runs")
    await recorder.flush()
    (event,) = await events(client)
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default", "uid": "u1",
        "resourceVersion": "5",
    }  # fmt: skip
    assert (event["reason"], event["message"], event["count"]) == ("Started", "it runs", 1)
    assert event["source"] == {"component": "tester", "host": "host-1"}


async def test_repeats_are_counted_in_one_event(client, recorder):
    for _ in range(3):
        recorder.event(POD, PODS, "Warning", "Failed", "no")
    await recorder.flush()
    (event,) = await events(client)
    assert event["count"] == 3


async def test_many_texts_of_one_reason_are_combined(client, recorder):
    for number in range(15):
        recorder.event(POD, PODS, "Warning", "Failed", f"no {number}")
    await recorder.flush()
    found = await events(client)
    assert len(found) == 11
    combined = [e for e in found if e["message"].startswith("(combined from similar events): ")]
    assert [e["count"] for e in combined] == [5]


async def test_one_object_cannot_flood_the_server(client, recorder):
    for number in range(60):
        recorder.event(POD, PODS, "Normal", f"Reason{number}", "x")
    await recorder.flush()
    assert len(await events(client)) == 25
    assert recorder.dropped == 35


async def test_an_event_that_expired_is_written_anew(client, recorder):
    recorder.event(POD, PODS, "Normal", "Started", "it runs")
    await recorder.flush()
    await client.delete_collection(EVENTS, "default")
    recorder.event(POD, PODS, "Normal", "Started", "it runs")
    await recorder.flush()
    assert [e["count"] for e in await events(client)] == [1]


async def test_a_namespace_that_is_not_there_is_no_ones_trouble(client, recorder):
    gone = {"metadata": {**POD["metadata"], "namespace": "nowhere"}}
    recorder.event(gone, PODS, "Normal", "Started", "it runs")
    recorder.event(POD, PODS, "Normal", "Started", "it runs")
    await recorder.flush()
    assert len(await events(client)) == 1


async def test_an_event_about_a_cluster_scoped_object_lies_in_default(client, recorder):
    recorder.event({"metadata": {"name": "n", "uid": "u"}}, resource("nodes"), "Normal", "Ready", "x")
    await recorder.flush()
    assert len(await events(client)) == 1
