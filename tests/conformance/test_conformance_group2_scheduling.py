"""What the scheduler refuses, chooses and preempts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import change, condition, gone, random_name, wait_for
from conformance_workloads import (
    AGNHOST,
    LONG,
    PAUSE,
    Workloads,
    container,
    deleting,
    is_ready,
    name_of,
    pod,
    pod_spec,
    uid,
    until,
    when,
)

from sublet.machinery import quantity

POD_SECURITY = "privileged"
NODES = 2
EXTENDED = "scheduling.k8s.io/foo"
FAKE_CPU = "example.com/fakecpu"
PREDICATES = "[sig-scheduling] SchedulerPredicates [Serial]"
PREEMPTION = "[sig-scheduling] SchedulerPreemption [Serial]"


@pytest.fixture(autouse=True)
def clean(api: API) -> None:
    """As the Serial tests do: nothing of other tests' namespaces is left."""

    def left() -> bool:
        found = api.typed("v1", "namespaces").items(label_selector="e2e-framework")
        return any(deleting(n) for n in found)

    wait_for(lambda: not left(), "no namespace of other tests", LONG)


@pytest.fixture
def work(api: API, clean: None, namespace: str) -> Workloads:
    return Workloads(api, namespace)


def sized(name: str, resources: Object, **spec: Any) -> Object:
    """A pod that requests this, and is limited to it."""
    made = container("pause", PAUSE, resources={"requests": resources, "limits": resources})
    return pod(name, {"name": name}, containers=[made], terminationGracePeriodSeconds=1, **spec)


def on_node(node: str) -> Object:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


def unschedulable(work: Workloads, name: str) -> None:
    """The pod's condition and an event say that it fits nowhere."""

    def holds(found: Object) -> bool:
        state = condition(found, "PodScheduled")
        return state is not None and (state["status"], state.get("reason")) == ("False", "Unschedulable")

    found = until(work.pods, name, holds, "is unschedulable")
    assert not found["spec"].get("nodeName")
    events = work.api.typed("v1", "events", work.namespace)
    fields = f"involvedObject.name={name},reason=FailedScheduling"
    [event, *_] = wait_for(lambda: events.items(field_selector=fields), "the event FailedScheduling")
    assert "nodes are available" in event["message"]
    assert event["type"] == "Warning" and event["metadata"]["name"].startswith(name)


@conformance(f"{PREDICATES} validates resource limits of pods that are allowed to run [Conformance]")
def test_full_nodes_take_no_more(api: API, work: Workloads) -> None:
    resource = api.typed("v1", "nodes")
    nodes = resource.items()
    everything = api.typed("v1", "pods").items()
    largest = 0
    for node in nodes:
        left = quantity.parse(node["status"]["allocatable"]["cpu"]).milli()
        for found in everything:
            if found["spec"].get("nodeName") == name_of(node):
                for one in found["spec"]["containers"]:
                    left -= quantity.parse(
                        (one.get("resources", {}).get("requests") or {}).get("cpu", "0")
                    ).milli()
        largest = max(largest, quantity.parse(node["status"]["allocatable"]["cpu"]).milli())
        change(resource, name_of(node), lambda o: o["metadata"]["labels"].update(node=name_of(o)))
        expression = {"key": "node", "operator": "In", "values": [name_of(node)]}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
        name = f"filler-pod-{name_of(node)}"
        work.pods.create(sized(name, {"cpu": f"{left * 7 // 10}m"}, affinity=affinity))
        assert work.pod_running(name)["spec"]["nodeName"] == name_of(node)
    additional = sized("additional-pod", {"cpu": f"{largest // 2}m"})
    del additional["spec"]["containers"][0]["resources"]["requests"]  # the limit is the request
    work.pods.create(additional)
    unschedulable(work, "additional-pod")
    for node in nodes:
        change(resource, name_of(node), lambda o: o["metadata"]["labels"].pop("node"))


@conformance(f"{PREDICATES} validates that NodeSelector is respected if not matching [Conformance]")
def test_no_node_is_selected(work: Workloads) -> None:
    work.pods.create(pod("restricted-pod", {"name": "restricted"}, nodeSelector={"label": "nonempty"}))
    unschedulable(work, "restricted-pod")


@conformance(f"{PREDICATES} validates that NodeSelector is respected if matching [Conformance]")
def test_one_node_is_selected(api: API, work: Workloads) -> None:
    nodes = api.typed("v1", "nodes")
    work.pods.create(pod("without-label"))
    node = work.pod_running("without-label")["spec"]["nodeName"]
    work.pods.delete("without-label", gracePeriodSeconds=0)
    key = f"kubernetes.io/{random_name('e2e')}"
    change(nodes, node, lambda o: o["metadata"]["labels"].update({key: "42"}))
    selector = {"kubernetes.io/hostname": node, key: "42"}
    work.pods.create(pod("with-labels", nodeSelector=selector))
    assert work.pod_running("with-labels")["spec"]["nodeName"] == node
    change(nodes, node, lambda o: o["metadata"]["labels"].pop(key))


@conformance(
    f"{PREDICATES} validates that there exists conflict between pods with same hostPort and protocol but one using "
    "0.0.0.0 hostIP [Conformance]"
)
def test_all_addresses_conflict_with_each(api: API, work: Workloads) -> None:
    node = name_of(api.typed("v1", "nodes").items()[0])
    address = "127.0.0.1"

    def with_port(name: str, ip: str) -> Object:
        port = {"containerPort": 8080, "hostPort": 54322, "protocol": "TCP", **({"hostIP": ip} if ip else {})}
        made = container("agnhost", AGNHOST, ports=[port])
        return pod(name, containers=[made], nodeSelector={"kubernetes.io/hostname": node})

    work.pods.create(with_port("pod4", ""))
    work.pod_running("pod4")
    work.pods.create(with_port("pod5", address))
    unschedulable(work, "pod5")


# -- preemption --


@pytest.fixture
def classes(api: API) -> Iterator[dict[str, str]]:
    """ "low", "medium", "high" -> names of PriorityClasses."""
    resource = api.typed("scheduling.k8s.io/v1", "priorityclasses")
    made = {}
    for base, value in (("low", 1), ("medium", 100), ("high", 1000)):
        made[base] = random_name(f"{base}-priority")
        resource.create({"metadata": {"name": made[base]}, "value": value})
    yield made
    for name in made.values():
        resource.delete(name)


@pytest.fixture
def extended(api: API) -> Iterator[list[str]]:
    """Every node has 5 of the extended resource; the nodes' names."""
    nodes = api.typed("v1", "nodes")
    found = [name_of(n) for n in nodes.items()]
    for node in found:
        give(api, node, EXTENDED, "5")
    yield found
    for node in found:
        take(api, node, EXTENDED)


def give(api: API, node: str, key: str, count: str) -> None:
    """As upstream's AddExtendedResource: others' resources stay, the node's word does too."""
    nodes = api.typed("v1", "nodes")
    added = {"capacity": {key: count}, "allocatable": {key: count}}
    before = nodes.get(node)["status"]["capacity"]
    after = nodes.patch(node, {"status": added}, STRATEGIC, "status")["status"]
    shown = after["capacity"].pop(key)
    assert quantity.parse(shown) == quantity.parse(count)
    assert after["capacity"] == {k: v for k, v in before.items() if k != key}
    until(nodes, node, lambda o: o["status"]["allocatable"].get(key), f"has {key}")


def take(api: API, node: str, key: str) -> None:
    nodes = api.typed("v1", "nodes")
    removed = {"capacity": {key: None}, "allocatable": {key: None}}
    after = nodes.patch(node, {"status": removed}, STRATEGIC, "status")["status"]
    assert key not in after["capacity"] and key not in after["allocatable"]


def fill(work: Workloads, nodes: list[str], classes: dict[str, str]) -> list[str]:
    """Two pods of 2 of 5 on each node: the very first of low priority, all others of medium."""
    made = []
    for number, node in enumerate(node for node in nodes for _ in range(2)):
        priority = classes["low" if number == 0 else "medium"]
        name = f"pod{number}-{'low' if number == 0 else 'medium'}"
        spec = {"priorityClassName": priority, "affinity": on_node(node)}
        work.pods.create(sized(name, {EXTENDED: "2"}, **spec))
        made.append(name)
    for name in made:
        work.pod_running(name)
    return made


def check_preempted(work: Workloads, made: list[str]) -> None:
    """The low one is gone or going, all others are as they were."""
    victim = when(work.pods, made[0], lambda _: True)
    assert victim is None or deleting(victim)
    for name in made[1:]:
        assert is_ready(work.pods.get(name)) and not deleting(work.pods.get(name)), f"{name} was touched"


@conformance(f"{PREEMPTION} validates basic preemption works [Conformance]")
def test_a_higher_priority_preempts(work: Workloads, extended: list[str], classes: dict[str, str]) -> None:
    made = fill(work, extended, classes)
    # It may go anywhere: the scheduler has to find the cheapest victim.
    work.pods.create(sized("preemptor-pod", {EXTENDED: "2"}, priorityClassName=classes["high"]))
    assert work.pod_running("preemptor-pod")["spec"]["nodeName"] == extended[0]
    check_preempted(work, made)


@conformance(f"{PREEMPTION} validates lower priority pod preemption by critical pod [Conformance]")
def test_a_critical_pod_preempts(
    api: API, work: Workloads, extended: list[str], classes: dict[str, str]
) -> None:
    made = fill(work, extended, classes)
    system = Workloads(api, "kube-system")
    try:
        critical = sized("critical-pod", {EXTENDED: "2"}, priorityClassName="system-cluster-critical")
        system.pods.create(critical)
        assert system.pod_running("critical-pod")["spec"]["nodeName"] == extended[0]
        check_preempted(work, made)
    finally:
        system.pods.delete("critical-pod", gracePeriodSeconds=0)
        gone(system.pods, "critical-pod")


@conformance(f"{PREEMPTION} validates pod disruption condition is added to the preempted pod [Conformance]")
def test_the_victim_says_why(api: API, work: Workloads, extended: list[str], classes: dict[str, str]) -> None:
    node, finalizer = extended[0], "example.com/test-finalizer"
    give(api, node, EXTENDED, "1")
    victim = sized("victim-pod", {EXTENDED: "1"}, priorityClassName=classes["low"], affinity=on_node(node))
    victim["metadata"]["finalizers"] = [finalizer]
    work.pods.create(victim)
    work.pod_running("victim-pod")
    preemptor = sized(
        "preemptor-pod", {EXTENDED: "1"}, priorityClassName=classes["high"], affinity=on_node(node)
    )
    work.pods.create(preemptor)
    found = until(work.pods, "victim-pod", deleting, "is deleted")
    state = condition(found, "DisruptionTarget")
    assert state is not None
    assert (state["status"], state["reason"]) == ("True", "PreemptionByScheduler")
    work.pods.patch("victim-pod", {"metadata": {"finalizers": None}})
    gone(work.pods, "victim-pod")


@conformance(
    f"{PREEMPTION} PreemptionExecutionPath runs ReplicaSets to verify preemption running path [Conformance]"
)
def test_preemption_among_replicasets(api: API, work: Workloads) -> None:
    node = name_of(api.typed("v1", "nodes").items()[0])
    resource = api.typed("scheduling.k8s.io/v1", "priorityclasses")
    names = {number: random_name(f"p{number}") for number in (1, 2, 3, 4)}
    for number, name in names.items():
        resource.create(
            {"metadata": {"name": name}, "value": number, "preemptionPolicy": "PreemptLowerPriority"}
        )
    give(api, node, FAKE_CPU, "1000")

    def spec(number: int, amount: str) -> Object:
        one = {"requests": {FAKE_CPU: amount}, "limits": {FAKE_CPU: amount}}
        return pod_spec(
            container("pod", PAUSE, resources=one), priorityClassName=names[number], affinity=on_node(node),
            terminationGracePeriodSeconds=1,
        )  # fmt: skip

    seen: dict[str, set[str]] = {}
    try:
        with work.pods.watch() as watch:
            for number, amount in ((1, "200"), (2, "300"), (3, "450")):
                labels = {"name": f"pod{number}"}
                template = {"metadata": {"labels": labels}, "spec": spec(number, amount)}
                wanted = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
                work.replicasets.create({"metadata": {"name": f"rs-pod{number}"}, "spec": wanted})
                work.running(1, selector=f"name=pod{number}")
            [kept] = work.pods.items(label_selector="name=pod3")
            work.pods.create(
                {"metadata": {"name": "pod4", "labels": {"name": "pod4"}}, "spec": spec(4, "500")}
            )
            assert work.pod_running("pod4")["spec"]["nodeName"] == node
            for number in (1, 2):
                left = work.pods.items(label_selector=f"name=pod{number}")
                assert not any(is_ready(p) and not deleting(p) for p in left), (
                    f"pod{number} was not preempted"
                )
            while True:
                try:
                    kind, found = watch.next(5.0)
                except TimeoutError:
                    break
                if kind == "ADDED":
                    seen.setdefault(found["metadata"]["labels"]["name"], set()).add(uid(found))
        counts = {name: len(found) for name, found in seen.items()}
        assert counts == {"pod1": 2, "pod2": 2, "pod3": 1, "pod4": 1}, "preempted too often or too seldom"
        assert uid(work.pods.get(name_of(kept))) == uid(kept)
    finally:
        for number in (1, 2, 3):
            work.replicasets.delete(f"rs-pod{number}")
        work.pods.delete("pod4", gracePeriodSeconds=0)
        take(api, node, FAKE_CPU)
        for name in names.values():
            resource.delete(name)
