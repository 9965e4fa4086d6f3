"""LimitRanges and PriorityClasses."""

from __future__ import annotations

from collections.abc import Callable

from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import change, gone, random_name, refused, wait_count, wait_for

POD_SECURITY = "privileged"
NewNamespace = Callable[..., str]


def amounts(cpu: str, memory: str, storage: str) -> dict[str, str]:
    named = {"cpu": cpu, "memory": memory, "ephemeral-storage": storage}
    return {name: amount for name, amount in named.items() if amount}


def pod(name: str, requests: dict[str, str], limits: dict[str, str]) -> Object:
    resources = {"requests": requests, "limits": limits}
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.10.2", "resources": resources}
    # with no node to go to it stays pending
    return {
        "metadata": {"name": name},
        "spec": {"containers": [container], "nodeSelector": {"e2e": "nowhere"}},
    }


def limit_range(name: str, labels: dict[str, str], minimum: dict[str, str]) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "min": minimum,
                    "max": amounts("500m", "500Mi", "500Gi"),
                    "default": amounts("500m", "500Mi", "500Gi"),
                    "defaultRequest": amounts("100m", "200Mi", "200Gi"),
                }
            ]
        },
    }


@conformance(
    "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults "
    "applied. [Conformance]"
)
def test_a_limit_range_fills_and_bounds(api: API, namespace: str) -> None:
    ranges, pods = api.typed("v1", "limitranges", namespace), api.typed("v1", "pods", namespace)
    labels = {"name": "limit-range", "time": random_name("x")}
    made = limit_range("limit-range", labels, amounts("50m", "100Mi", "100Gi"))
    with ranges.watch(label_selector=f"time={labels['time']}") as watch:
        ranges.create(made)
        assert watch.expect("ADDED")["metadata"]["name"] == "limit-range"
    assert ranges.get("limit-range")["spec"] == made["spec"]
    filled = pods.create(pod("pod-no-resources", {}, {}))["spec"]["containers"][0]["resources"]
    assert filled == {
        "requests": amounts("100m", "200Mi", "200Gi"),
        "limits": amounts("500m", "500Mi", "500Gi"),
    }
    partial = pod("pod-partial-resources", amounts("", "150Mi", "150Gi"), amounts("300m", "", ""))
    filled = pods.create(partial)["spec"]["containers"][0]["resources"]
    # a limit without a request is the request; the range's default request does not come in
    assert filled["requests"] == amounts("300m", "150Mi", "150Gi")
    assert filled["limits"] == amounts("300m", "500Mi", "500Gi")
    with refused("Forbidden", "minimum cpu usage per Container is 50m, but request is 10m"):
        pods.create(pod("too-small", amounts("10m", "50Mi", "50Gi"), {}))
    with refused("Forbidden", "maximum cpu usage per Container is 500m, but limit is 600m"):
        pods.create(pod("too-big", {}, amounts("600m", "600Mi", "600Gi")))
    smaller = amounts("9m", "49Mi", "49Gi")
    change(ranges, "limit-range", lambda o: o["spec"]["limits"][0].update(min=smaller))
    assert ranges.get("limit-range")["spec"]["limits"][0]["min"] == smaller
    pods.create(pod("small", amounts("10m", "50Mi", "50Gi"), {}))
    with refused("Forbidden", "maximum memory usage per Container is 500Mi, but limit is 600Mi"):
        pods.create(pod("too-big", {}, amounts("600m", "600Mi", "600Gi")))
    ranges.delete("limit-range")
    gone(ranges, "limit-range")
    pods.create(pod("big", {}, amounts("600m", "600Mi", "600Gi")))


@conformance(
    "[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]"
)
def test_limit_ranges_by_collection(api: API, new_namespace: NewNamespace) -> None:
    first, second = new_namespace(), new_namespace()
    name = random_name("e2e-limitrange")
    selector, patched_selector = f"{name}=created", f"{name}=patched"
    made = limit_range(name, {name: "created"}, amounts("50m", "100Mi", "100Gi"))
    for namespace in (first, second):
        api.typed("v1", "limitranges", namespace).create(made)
    ranges, everywhere = api.typed("v1", "limitranges", first), api.typed("v1", "limitranges")
    assert len(everywhere.items(label_selector=selector)) == 2
    minimum = amounts("40m", "100Mi", "100Gi")
    patch = {
        "metadata": {"labels": {name: "patched"}},
        "spec": {"limits": [{**made["spec"]["limits"][0], "min": minimum}]},
    }
    patched = ranges.patch(name, patch, STRATEGIC)
    assert patched["metadata"]["labels"][name] == "patched"
    assert patched["spec"]["limits"][0]["min"] == minimum
    ranges.delete_collection(patched_selector)
    wait_count(ranges, 0, label_selector=patched_selector)
    [left] = everywhere.items(label_selector=selector)
    assert left["metadata"]["namespace"] == second


@conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be "
    "operated with different HTTP methods [Conformance]"
)
def test_priority_classes(api: API) -> None:
    nodes = api.typed("v1", "nodes")
    wait_for(lambda: len(nodes.items(field_selector="spec.unschedulable=false")) >= 1, "a node")
    classes = api.typed("scheduling.k8s.io/v1", "priorityclasses")
    value = random_name("p")
    selector = f"e2e={value}"
    names = [f"{value}-1", f"{value}-2"]
    for number, name in enumerate(names):
        classes.create({"metadata": {"name": name, "labels": {"e2e": value}}, "value": number + 1})
    for number, name in enumerate(names):
        with refused("Invalid", "may not be changed in an update"):
            classes.patch(name, {"value": number + 10}, STRATEGIC)
        found = classes.get(name)
        found["value"] = number + 10
        with refused("Invalid", "may not be changed in an update"):
            classes.update(found)
        patched = classes.patch(name, {"description": "patched by e2e"}, STRATEGIC)
        assert (patched["description"], patched["value"]) == ("patched by e2e", number + 1)
        updated = change(classes, name, lambda o: o["metadata"].update(annotations={"updated": "true"}))
        assert updated["metadata"]["annotations"] == {"updated": "true"}
    listed = classes.items(label_selector=selector)
    assert [o["metadata"]["name"] for o in listed] == names
    assert [o["value"] for o in listed] == [1, 2]
    classes.delete_collection(selector)
    wait_count(classes, 0, label_selector=selector)
