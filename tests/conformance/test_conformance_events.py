"""Events through both of their APIs, and CronJobs as objects."""

from __future__ import annotations

from collections.abc import Callable

from conformance_client import API, MERGE, STRATEGIC, Object
from conformance_crud import holds
from conformance_names import conformance
from conformance_steps import (
    api_operations,
    change,
    check_discovery,
    delete_all,
    gone,
    random_name,
    wait_count,
)

NewNamespace = Callable[..., str]
NEW = "events.k8s.io/v1"


def core_event(name: str, namespace: str, labels: dict[str, str]) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "message": "This is a test event",
        "reason": "Test",
        "type": "Normal",
        "count": 1,
        "involvedObject": {"namespace": namespace},
        "source": {"component": "e2e-test"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }


@conformance("[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]")
def test_the_life_of_a_core_event(api: API, namespace: str) -> None:
    events, everywhere = api.typed("v1", "events", namespace), api.typed("v1", "events")
    name, selector = "event-test", "testevent-constant=true"
    events.create(core_event(name, namespace, {"testevent-constant": "true"}))
    [found] = everywhere.items(label_selector=selector)
    assert found["metadata"]["name"] == name
    message = "This is a test event - patched"
    events.patch(name, {"metadata": {"labels": {"testevent": "patched"}}, "message": message}, STRATEGIC)
    found = events.get(name)
    assert found["message"] == message
    series = {"count": 100, "lastObservedTime": "2026-01-02T03:04:05.678901Z"}
    change(events, name, lambda o: o.update(series=series))
    found = events.get(name)
    assert found["series"] == series
    [found] = everywhere.items(field_selector=f"metadata.name={name}", label_selector=selector)
    assert found["source"]["component"] == "e2e-test"
    events.delete(name)
    wait_count(everywhere, 0, label_selector=selector)


@conformance("[sig-instrumentation] Events should delete a collection of events [Conformance]")
def test_core_events_are_deleted_by_label(api: API, namespace: str) -> None:
    events = api.typed("v1", "events", namespace)
    for number in (1, 2, 3):
        events.create(core_event(f"test-event-{number}", namespace, {"testevent-set": "true"}))
    wait_count(events, 3, label_selector="testevent-set=true")
    events.delete_collection("testevent-set=true")
    wait_count(events, 0, label_selector="testevent-set=true")


def new_event(name: str, namespace: str, labels: dict[str, str]) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "regarding": {"namespace": namespace, "kind": "Pod", "name": "x"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "note": f"This is {name}",
        "action": "Do",
        "reason": "Test",
        "type": "Normal",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
    }


@conformance(
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed "
    "[Conformance]"
)
def test_the_life_of_an_event(api: API, new_namespace: NewNamespace) -> None:
    namespace, other = new_namespace(), new_namespace()
    events, core = api.typed(NEW, "events", namespace), api.typed("v1", "events", namespace)
    name, selector = "event-test", "testevent-constant=true"
    created = events.create(new_event(name, namespace, {"testevent-constant": "true"}))
    [listed] = api.typed(NEW, "events").items(label_selector=selector)
    assert listed["metadata"]["name"] == name
    assert [o["metadata"]["name"] for o in events.items(label_selector=selector)] == [name]
    assert api.typed(NEW, "events", other).items(label_selector=selector) == []
    by_field = events.items(field_selector="reportingController=test-controller")
    assert [o["metadata"]["name"] for o in by_field] == [name]
    # the core view names the controller as the event's reporting component
    seen = core.get(name)
    assert seen["message"] == created["note"] and seen["reportingComponent"] == "test-controller"
    assert [o["metadata"]["name"] for o in core.items(field_selector="source=test-controller")] == [name]
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:05:00.000000Z"}
    events.patch(name, {"series": series}, STRATEGIC)
    found = events.get(name)
    assert found["series"] == series and holds(
        found, {k: created[k] for k in ("note", "regarding", "reason")}
    )
    other_series = {"count": 100, "lastObservedTime": "2026-01-02T00:05:00.000000Z"}
    change(events, name, lambda o: o.update(series=other_series))
    assert events.get(name)["series"] == other_series
    events.delete(name)
    gone(events, name)
    assert api.typed(NEW, "events").items(label_selector=selector) == []


@conformance("[sig-instrumentation] Events API should delete a collection of events [Conformance]")
def test_events_are_deleted_by_label(api: API, namespace: str) -> None:
    events = api.typed(NEW, "events", namespace)
    for number in (1, 2, 3):
        events.create(new_event(f"test-event-{number}", namespace, {"testevent-set": "true"}))
    wait_count(events, 3, label_selector="testevent-set=true")
    events.delete_collection("testevent-set=true")
    wait_count(events, 0, label_selector="testevent-set=true")


@conformance("[sig-apps] CronJob should support CronJob API operations [Conformance]")
def test_cron_jobs(api: API, namespace: str) -> None:
    check_discovery(api, "batch/v1", "cronjobs", "cronjobs/status")
    jobs = api.typed("batch/v1", "cronjobs", namespace)
    value = random_name("e2e")
    selector = f"special-label={value}"

    def make() -> Object:
        pod = {"containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "OnFailure"}
        return {
            "metadata": {"generateName": "e2e-example-cj-", "labels": {"special-label": value}},
            "spec": {
                # 31 January only: never during the test
                "schedule": "* */1 31 1 ?",
                "concurrencyPolicy": "Allow",
                "jobTemplate": {"spec": {"template": {"spec": pod}}},
            },
        }

    def edit(obj: Object) -> None:
        obj["metadata"]["annotations"]["updated"] = "true"
        obj["spec"]["suspend"] = True

    updated = api_operations(
        jobs, make,
        edit_patch={"metadata": {"annotations": {"patched": "true"}}},
        edit=edit,
        check_edit=lambda o: o["spec"]["suspend"] is True,
        selector=selector,
    )  # fmt: skip
    name = updated["metadata"]["name"]
    assert len(api.typed("batch/v1", "cronjobs").items(label_selector=selector)) == 3
    scheduled = "2026-01-31T01:00:00Z"
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"lastScheduleTime": scheduled},
    }
    patched = jobs.patch(name, patch, MERGE, "status")
    assert patched["status"]["lastScheduleTime"] == scheduled
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    later = "2026-01-31T02:00:00Z"
    updated = change(jobs, name, lambda o: o["status"].update(lastScheduleTime=later), "status")
    assert updated["status"]["lastScheduleTime"] == later
    assert jobs.get(name, "status")["status"] == updated["status"]
    delete_all(jobs, name, selector, 2)
