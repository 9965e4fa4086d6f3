"""Events in the form of events.k8s.io: what happens again makes a series of the first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sublet.client.client import Client
from sublet.client.eventseries import EVENTS, SeriesRecorder
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object

PODS = resource("pods")
POD = {"metadata": {"name": "p", "namespace": "default", "uid": "u1", "resourceVersion": "5"}}
OTHER = {"metadata": {"name": "o", "namespace": "default", "uid": "u2"}}


class Clock:
    time = 1_770_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def recorder(client: Client, clock: Clock) -> AsyncIterator[SeriesRecorder]:
    made = SeriesRecorder(client, "here", clock=clock)
    yield made
    await made.close()


async def events(client: Client) -> list[Object]:
    return list((await client.list(EVENTS, "default"))["items"])


def fail(recorder: SeriesRecorder, note: str = "no") -> None:
    recorder.event("tester", (POD, PODS), "Warning", "Failed", "Trying", note)


async def test_an_event_says_what_was_done_to_what_and_because_of_what(
    client: Client, recorder: SeriesRecorder
) -> None:
    recorder.event("tester", (POD, PODS), "Normal", "Preempted", "Preempting", "gone", (OTHER, PODS))
    await recorder.flush()
    (event,) = await events(client)
    assert event["regarding"]["uid"] == "u1" and event["related"]["uid"] == "u2"
    assert (event["action"], event["note"], event["eventTime"]) == (
        "Preempting",
        "gone",
        "2026-02-02T02:40:00.000000Z",
    )
    assert (event["reportingController"], event["reportingInstance"]) == ("tester", "tester-here")
    assert "series" not in event and event["deprecatedFirstTimestamp"] is None


async def test_what_happens_again_is_a_series_of_the_first_event_and_later_ones_are_counted_only(
    client: Client, recorder: SeriesRecorder, clock: Clock
) -> None:
    for number in range(4):
        clock.time += 1
        fail(recorder, f"no {number}")
    await recorder.flush()
    (event,) = await events(client)
    assert event["note"] == "no 0"
    assert event["series"] == {"count": 2, "lastObservedTime": "2026-02-02T02:40:02.000000Z"}


async def test_a_series_that_is_over_is_written_to_its_end_and_the_next_begins_anew(
    client: Client, recorder: SeriesRecorder, clock: Clock
) -> None:
    for _ in range(5):
        fail(recorder)
    await recorder.flush()
    clock.time += 361
    recorder._look()
    await recorder.flush()
    (event,) = await events(client)
    assert event["series"]["count"] == 5
    fail(recorder)
    await recorder.flush()
    assert len(await events(client)) == 2


async def test_a_series_whose_event_was_deleted_is_written_again(
    client: Client, recorder: SeriesRecorder
) -> None:
    fail(recorder)
    await recorder.flush()
    (event,) = await events(client)
    await client.delete(EVENTS, event["metadata"]["name"], "default")
    fail(recorder)
    await recorder.flush()
    (event,) = await events(client)
    assert event["series"]["count"] == 2


async def test_a_long_note_is_cut(client: Client, recorder: SeriesRecorder) -> None:
    fail(recorder, "x" * 2000)
    await recorder.flush()
    (event,) = await events(client)
    assert len(event["note"]) == 1024 and event["note"].endswith("x ...")
