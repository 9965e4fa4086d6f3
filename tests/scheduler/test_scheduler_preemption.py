"""Which pods must leave for a more important one."""

from __future__ import annotations

from sublet.scheduler import preemption


def choose(world, pod, budgets=()):
    attempt = world.attempt(pod)
    assert attempt.prepare(world.cluster)
    assert attempt.feasible(world.cache.nodes.values(), 1000) == []
    return preemption.choose(attempt, world.cluster, budgets)


def victims(outcome):
    return [pod.name for pod in outcome.candidate.victims]


def test_only_as_many_pods_leave_as_must_and_the_least_important_ones(world):
    world.node("a", cpu="3")
    low, mid, _ = (world.pod(on="a", cpu="1", priority=p) for p in (1, 2, 3))
    assert victims(choose(world, world.pod(cpu="1", priority=10))) == [low.name]
    assert victims(choose(world, world.pod(cpu="2", priority=10))) == [mid.name, low.name]


def test_pods_of_equal_priority_stay(world):
    world.node("a", cpu="1")
    world.pod(on="a", cpu="1", priority=10)
    outcome = choose(world, world.pod(cpu="1", priority=10))
    assert outcome.candidate is None
    assert outcome.message == "0/1 nodes are available: 1 No preemption victims found for incoming pod."


def test_a_node_that_is_refused_for_good_is_no_candidate(world):
    world.node("a", cpu="1", labels={"disk": "hdd"})
    world.pod(on="a", cpu="1")
    outcome = choose(world, world.pod(cpu="1", priority=10, nodeSelector={"disk": "ssd"}))
    assert outcome.message == "0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def test_a_node_that_is_too_small_even_when_empty_is_no_candidate(world):
    world.node("a", cpu="1")
    world.pod(on="a", cpu="1")
    outcome = choose(world, world.pod(cpu="2", priority=10))
    assert outcome.message == "0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def test_where_even_the_least_important_pods_cannot_make_room_the_reason_is_told(world):
    world.node("a", cpu="3")
    world.pod(on="a", cpu="1", priority=1)
    world.pod(on="a", cpu="2", priority=20)
    outcome = choose(world, world.pod(cpu="2", priority=10))
    assert outcome.message == "0/1 nodes are available: 1 Insufficient cpu."


def test_where_no_pod_is_to_be_with_or_no_domain_is_nobody_has_to_go(world):
    world.node("a", cpu="1")
    world.pod(on="a", cpu="1")
    term = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"}
    company = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    spread = [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ]
    for spec in ({"affinity": company}, {"topologySpreadConstraints": spread}):
        outcome = choose(world, world.pod(priority=10, **spec))
        assert outcome.message == "0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def test_the_node_whose_victims_matter_least_is_chosen(world):
    for name, priority in (("a", 5), ("b", 1)):
        world.node(name, cpu="1")
        world.pod(on=name, cpu="1", priority=priority)
    assert choose(world, world.pod(cpu="1", priority=10)).candidate.node == "b"


def test_pods_under_a_disruption_budget_are_spared_where_possible(world):
    for name in ("a", "b"):
        world.node(name, cpu="1")
        world.pod(on=name, cpu="1", labels={"on": name})
    budget = {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"on": "a"}}},
        "status": {"disruptionsAllowed": 0},
    }
    assert choose(world, world.pod(cpu="1", priority=10), [budget]).candidate.node == "b"


def test_a_host_port_is_freed(world):
    world.node("a")
    holder = world.pod(on="a", port=80)
    assert victims(choose(world, world.pod(port=80, priority=10))) == [holder.name]


def test_a_pod_that_never_preempts_does_not(world):
    world.node("a", cpu="1")
    world.pod(on="a", cpu="1")
    outcome = choose(world, world.pod(cpu="1", priority=10, preemptionPolicy="Never"))
    assert (outcome.candidate, outcome.message) == (None, "not eligible due to preemptionPolicy=Never.")
