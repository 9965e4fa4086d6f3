"""DaemonSets and their ControllerRevisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conformance_client import API, STRATEGIC, Object, Watch
from conformance_names import conformance
from conformance_steps import change, condition, gone, wait_count, wait_for
from conformance_workloads import (
    AGNHOST,
    AGNHOST_OLD,
    LONG,
    Workloads,
    check_status,
    container,
    is_controlled,
    is_ready,
    names,
    set_image,
    template,
    uid,
    until,
)

POD_SECURITY = "privileged"
NODES = 2
NAME = "daemon-set"
LABELS = {"daemonset-name": NAME}
SELECTOR = f"daemonset-name={NAME}"
COLOR = "daemonset-color"
SUITE = "[sig-apps] Daemon set [Serial]"


class Daemons(Workloads):
    def __init__(self, api: API, namespace: str) -> None:
        super().__init__(api, namespace)
        self.nodes = api.typed("v1", "nodes")

    def create(self, image: str = AGNHOST, **spec: Any) -> Object:
        selector = {"matchLabels": LABELS}
        pods = template(LABELS, container("app", image), terminationGracePeriodSeconds=0)
        manifest = {
            "metadata": {"name": NAME, "labels": LABELS},
            "spec": {"selector": selector, "template": pods},
        }
        manifest["spec"].update(spec)
        return self.daemonsets.create(manifest)

    def node_names(self) -> list[str]:
        return names(self.nodes.items())

    def on(self, nodes: list[str], image: str | None = None) -> list[Object]:
        """Waits for one running pod on each of these nodes, and none elsewhere."""

        def ask() -> list[Object] | None:
            found = self.pods.items(label_selector=SELECTOR)
            good = all(is_ready(p) for p in found) and (
                image is None or all(p["spec"]["containers"][0]["image"] == image for p in found)
            )
            return found if good and sorted(p["spec"]["nodeName"] for p in found) == sorted(nodes) else None

        found = wait_for(lambda: (ask(), True) if ask() is not None else None, f"pods on {nodes}", LONG)
        assert found is not None and found[0] is not None
        return found[0]

    def status(self, holds: Callable[[Object], bool], what: str) -> Object:
        return until(self.daemonsets, NAME, lambda o: holds(o.get("status") or {}), what)


@pytest.fixture
def daemons(api: API, namespace: str) -> Iterator[Daemons]:
    found = Daemons(api, namespace)
    yield found
    found.daemonsets.delete_collection()
    wait_count(found.daemonsets, 0)
    found.no_pods()
    for node in found.nodes.items():
        change(found.nodes, node["metadata"]["name"], lambda o: o["metadata"]["labels"].pop(COLOR, None))


@conformance(f"{SUITE} should run and stop simple daemon [Conformance]")
def test_a_simple_daemon(daemons: Daemons) -> None:
    daemons.create()
    pods = daemons.on(daemons.node_names())
    daemons.status(lambda s: s.get("desiredNumberScheduled") == s.get("numberReady") == len(pods), "counts")
    daemons.pods.delete(pods[0]["metadata"]["name"])
    gone(daemons.pods, pods[0]["metadata"]["name"])
    daemons.on(daemons.node_names())


@conformance(f"{SUITE} should run and stop complex daemon [Conformance]")
def test_a_daemon_on_chosen_nodes(daemons: Daemons) -> None:
    pods = template(LABELS, container("app", AGNHOST), nodeSelector={COLOR: "blue"})
    daemons.create(template=pods)
    daemons.status(lambda s: s.get("observedGeneration") == 1, "observed")
    daemons.on([])
    node = daemons.node_names()[0]
    paint = lambda color: change(  # noqa: E731
        daemons.nodes, node, lambda o: o["metadata"]["labels"].update({COLOR: color})
    )
    paint("blue")
    daemons.on([node])
    daemons.status(lambda s: s.get("currentNumberScheduled") == 1, "counts one")
    paint("green")
    daemons.on([])

    def green(found: Object) -> None:
        found["spec"]["template"]["spec"]["nodeSelector"] = {COLOR: "green"}
        found["spec"]["updateStrategy"] = {"type": "RollingUpdate"}

    change(daemons.daemonsets, NAME, green)
    daemons.on([node])
    daemons.status(lambda s: s.get("currentNumberScheduled") == 1, "counts one")


@conformance(f"{SUITE} should retry creating failed daemon pods [Conformance]")
def test_failed_daemon_pods_are_replaced(daemons: Daemons) -> None:
    daemons.create()
    pods = daemons.on(daemons.node_names())
    victim = pods[0]

    def fail(found: Object) -> None:
        found["status"]["phase"] = "Failed"

    change(daemons.pods, victim["metadata"]["name"], fail, "status")
    gone(daemons.pods, victim["metadata"]["name"])
    daemons.on(daemons.node_names())


def revision_of(daemons: Daemons, number: int) -> Object:
    owner = daemons.daemonsets.get(NAME)

    def ask() -> Object | None:
        return next(
            (r for r in daemons.revisions.items() if is_controlled(r, owner) and r["revision"] == number),
            None,
        )

    found = wait_for(ask, f"revision {number}", LONG)
    assert found is not None
    return found


def check_hash(daemons: Daemons, number: int) -> None:
    wanted = revision_of(daemons, number)["metadata"]["labels"]["controller-revision-hash"]
    for pod in daemons.pods.items(label_selector=SELECTOR):
        assert pod["metadata"]["labels"]["controller-revision-hash"] == wanted


def one_at_a_time(watch: Watch, known: dict[str, Object], nodes: int) -> None:
    """Follows the pods until all are new; at no time is more than one of those that are there not ready."""
    while sum(is_ready(p) and p["spec"]["containers"][0]["image"] == AGNHOST for p in known.values()) < nodes:
        kind, pod = watch.next(LONG)
        if kind == "DELETED":
            known.pop(uid(pod))
        else:
            known[uid(pod)] = pod
        assert sum(not is_ready(p) for p in known.values()) <= 1, "more than one pod is not available"


@conformance(
    f"{SUITE} should update pod when spec was updated and update strategy is RollingUpdate [Conformance]"
)
def test_a_rolling_update(daemons: Daemons) -> None:
    daemons.create(AGNHOST_OLD, updateStrategy={"type": "RollingUpdate"})
    nodes = daemons.node_names()
    daemons.on(nodes, AGNHOST_OLD)
    assert len(daemons.revisions.items()) == 1
    check_hash(daemons, 1)
    with daemons.daemonsets.watch(field_selector=f"metadata.name={NAME}") as watch:
        version = daemons.pods.list()["metadata"]["resourceVersion"]
        known = {uid(p): p for p in daemons.pods.items(label_selector=SELECTOR)}
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": AGNHOST}]}}}}
        daemons.daemonsets.patch(NAME, patch, STRATEGIC)
        watch.until("MODIFIED", lambda o: o["spec"]["template"]["spec"]["containers"][0]["image"] == AGNHOST)
        with daemons.pods.watch(resource_version=version, label_selector=SELECTOR) as pods:
            one_at_a_time(pods, known, len(nodes))
        daemons.on(nodes, AGNHOST)
        daemons.status(
            lambda s: s.get("updatedNumberScheduled") == s.get("numberAvailable") == len(nodes), "updated"
        )
        while True:
            _, seen = watch.next()
            status = seen["status"]
            assert status.get("numberUnavailable", 0) <= 1, "more than one at a time"
            if status.get("updatedNumberScheduled") == status.get("numberAvailable") == len(nodes):
                break
    assert len(daemons.revisions.items()) == 2
    check_hash(daemons, 2)


@conformance(f"{SUITE} should rollback without unnecessary restarts [Conformance]")
def test_a_rollback_keeps_what_runs(daemons: Daemons) -> None:
    nodes = daemons.node_names()
    assert len(nodes) >= 2, "needs at least two nodes"
    daemons.create(AGNHOST, updateStrategy={"type": "RollingUpdate"})
    before = daemons.on(nodes, AGNHOST)
    change(daemons.daemonsets, NAME, lambda o: set_image(o, "foo:non-existent"))

    def broken() -> list[Object]:
        found = daemons.pods.items(label_selector=SELECTOR)
        return [p for p in found if p["spec"]["containers"][0]["image"] == "foo:non-existent"]

    wait_for(broken, "a pod with the bad image", LONG)
    running = {uid(p) for p in daemons.pods.items(label_selector=SELECTOR)} & {uid(p) for p in before}
    assert running, "all old pods are gone"
    change(daemons.daemonsets, NAME, lambda o: set_image(o, AGNHOST))
    after = daemons.on(nodes, AGNHOST)
    assert running <= {uid(p) for p in after}, "a running pod was restarted"


@conformance(f"{SUITE} should list and delete a collection of DaemonSets [Conformance]")
def test_a_collection_of_daemonsets(daemons: Daemons, api: API) -> None:
    daemons.create()
    daemons.on(daemons.node_names())
    [listed] = api.typed("apps/v1", "daemonsets").items(label_selector=SELECTOR)
    assert listed["metadata"]["name"] == NAME
    daemons.daemonsets.delete_collection(SELECTOR)
    assert daemons.daemonsets.items(label_selector=SELECTOR) == [], "not gone at once"
    daemons.no_pods(SELECTOR)


@conformance(f"{SUITE} should verify changes to a daemon set status [Conformance]")
def test_the_status_of_a_daemonset(daemons: Daemons, api: API) -> None:
    daemons.create()
    daemons.on(daemons.node_names())
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}

    def patched(found: Object) -> bool:
        return condition(found, "StatusPatched") is not None

    check_status(api, daemons.daemonsets, NAME, SELECTOR, patch, patched)


@conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
def test_the_life_of_a_controller_revision(daemons: Daemons, api: API) -> None:
    owner = daemons.create()
    daemons.on(daemons.node_names())
    everywhere = api.typed("apps/v1", "controllerrevisions")
    [listed] = everywhere.items(label_selector=SELECTOR)
    initial = daemons.revisions.get(listed["metadata"]["name"])
    assert is_controlled(initial, owner) and initial["revision"] == 1
    name = initial["metadata"]["name"]
    patched = daemons.revisions.patch(name, {"metadata": {"labels": {name: "patched"}}}, STRATEGIC)
    assert patched["metadata"]["labels"][name] == "patched"

    # Another revision of the same template; its name is the one a later template may want.
    second = f"{NAME}-7d95bc886c"
    fresh = {
        "name": second, "labels": {**LABELS, "controller-revision-hash": "7d95bc886c"},
        "ownerReferences": initial["metadata"]["ownerReferences"],
    }  # fmt: skip
    daemons.revisions.create({"metadata": fresh, "data": initial["data"], "revision": 2})
    revisions(daemons, 2)
    daemons.revisions.delete(name)
    [left] = revisions(daemons, 1)
    assert (left["metadata"]["name"], left["revision"]) == (second, 2)
    updated = change(daemons.revisions, second, lambda o: o["metadata"]["labels"].update({second: "updated"}))
    assert updated["metadata"]["labels"][second] == "updated"

    # The strategy is in the wrong place, as it is in upstream's patch: dropped with a warning.
    patch = {
        "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}},
        "updateStrategy": {"type": "RollingUpdate"},
    }
    daemons.daemonsets.patch(NAME, patch, STRATEGIC)
    revisions(daemons, 2)
    daemons.revisions.delete_collection(f"{second}=updated")
    [last] = revisions(daemons, 1)
    assert last["revision"] == 3


def revisions(daemons: Daemons, count: int) -> list[Object]:
    """Waits for exactly so many revisions."""
    wait_count(daemons.revisions, count, LONG, label_selector=SELECTOR)
    return daemons.revisions.items(label_selector=SELECTOR)
