"""PodDisruptionBudgets and evictions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from conformance_client import API, APIError, Object
from conformance_names import conformance
from conformance_steps import change, gone, wait_count
from conformance_workloads import LONG, PAUSE, Workloads, container, names, pod, replicated, until

POD_SECURITY = "restricted"
NODES = 2
NAME = "foo"
LABELS = {"foo": "bar"}
SELECTOR = "foo=bar"


class Budgets(Workloads):
    def __init__(self, api: API, namespace: str) -> None:
        super().__init__(api, namespace)
        self.budgets = api.typed("policy/v1", "poddisruptionbudgets", namespace)

    def budget(self, name: str = NAME, labels: Object | None = None, **spec: Any) -> Object:
        spec = {"selector": {"matchLabels": LABELS}, **spec}
        made = self.budgets.create({"metadata": {"name": name, "labels": labels or {}}, "spec": spec})
        self.processed(name)
        return made

    def processed(self, name: str = NAME) -> Object:
        return until(
            self.budgets, name,
            lambda o: (o.get("status") or {}).get("observedGeneration", 0) >= o["metadata"]["generation"],
            "observed",
        )  # fmt: skip

    def pods_made(self, count: int) -> list[Object]:
        for number in range(count):
            self.pods.create(pod(f"pod-{number}", LABELS, restartPolicy="Always"))
        return self.running(count, selector=SELECTOR)

    def evict(self, name: str) -> None:
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": self.namespace},
        }
        self.pods.create(eviction, name, "eviction")

    def allows(self, holds: Callable[[Object], bool], what: str) -> Object:
        return until(self.budgets, NAME, lambda o: holds(o.get("status") or {}), what)


@pytest.fixture
def budgets(api: API, namespace: str) -> Budgets:
    return Budgets(api, namespace)


@conformance("[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]")
def test_the_life_of_a_budget(budgets: Budgets) -> None:
    made = budgets.budget(minAvailable=1)
    assert made["spec"]["minAvailable"] == 1
    change(budgets.budgets, NAME, lambda o: o["spec"].update(minAvailable=2))
    assert budgets.processed()["spec"]["minAvailable"] == 2
    budgets.budgets.patch(NAME, {"spec": {"minAvailable": "3%"}})
    assert budgets.processed()["spec"]["minAvailable"] == "3%"
    budgets.budgets.delete(NAME)
    gone(budgets.budgets, NAME)


@conformance(
    "[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a "
    "collection of PodDisruptionBudgets [Conformance]"
)
def test_a_collection_of_budgets(api: API, budgets: Budgets, new_namespace: Callable[..., str]) -> None:
    labels = {"testLabel": budgets.namespace}
    selector = f"testLabel={budgets.namespace}"
    other = Budgets(api, new_namespace())
    budgets.budget("foo", labels, minAvailable=2)
    budgets.budget("foo2", labels, minAvailable="1%")
    other.budget("foo3", labels, minAvailable=2)
    everywhere = api.typed("policy/v1", "poddisruptionbudgets")
    assert names(everywhere.items(label_selector=selector)) == ["foo", "foo2", "foo3"]
    assert names(budgets.budgets.items(label_selector=selector)) == ["foo", "foo2"]
    budgets.budgets.delete_collection(selector)
    wait_count(budgets.budgets, 0, label_selector=selector)
    assert names(other.budgets.items()) == ["foo3"]


@conformance(
    "[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]"
)
def test_the_status_of_a_budget_follows_its_pods(budgets: Budgets) -> None:
    budgets.budget(minAvailable=1)
    budgets.pods_made(3)
    budgets.allows(lambda s: s.get("disruptionsAllowed", 0) > 0, "allows disruptions")


@conformance("[sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]")
def test_the_status_of_a_budget_is_written(budgets: Budgets) -> None:
    budgets.budget(minAvailable=1)
    budgets.pods_made(1)
    name = names(budgets.pods.items())[0]
    budgets.allows(lambda s: s.get("currentHealthy") == 1, "counts the pod")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    written = change(
        budgets.budgets, NAME, lambda o: o["status"].update(disruptedPods={name: stamp}), "status"
    )
    assert written["status"]["disruptedPods"] == {name: stamp}
    budgets.processed()
    dynamic = budgets.api.dynamic(
        "policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", budgets.namespace
    )
    assert dynamic.get(NAME, "status")["status"]["disruptedPods"] == {name: stamp}, "the controller forgot it"
    patched = budgets.budgets.patch(NAME, {"status": {"disruptedPods": None}}, subresource="status")
    assert not patched["status"].get("disruptedPods")


def refused(budgets: Budgets, name: str) -> None:
    with pytest.raises(APIError) as caught:
        budgets.evict(name)
    assert (caught.value.code, caught.value.reason) == (429, "TooManyRequests")
    causes = (caught.value.status.get("details") or {}).get("causes") or []
    assert [c["reason"] for c in causes] == ["DisruptionBudget"], (
        "the eviction does not name the budget as the cause"
    )


@conformance(
    "[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it [Conformance]"
)
def test_a_budget_blocks_evictions(budgets: Budgets) -> None:
    budgets.budget(minAvailable=3)
    budgets.replicasets.create(replicated("rs", 3, LABELS, container("donothing", PAUSE)))
    name = names(budgets.running(3, selector=SELECTOR))[0]
    refused(budgets, name)
    change(budgets.budgets, NAME, lambda o: o["spec"].update(minAvailable=2))
    budgets.processed()
    budgets.allows(lambda s: (s.get("currentHealthy"), s.get("desiredHealthy")) == (3, 2), "counts them")
    budgets.evict(name)  # at the first try

    budgets.budgets.patch(NAME, {"spec": {"minAvailable": None, "maxUnavailable": 0}})
    budgets.processed()
    victim = names(budgets.running(3, selector=SELECTOR))[0]
    refused(budgets, victim)
    budgets.budgets.delete(NAME)
    gone(budgets.budgets, NAME)
    budgets.running(3, selector=SELECTOR)
    budgets.evict(victim)
    gone(budgets.pods, victim, LONG)
