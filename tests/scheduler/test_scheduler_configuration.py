"""What a KubeSchedulerConfiguration changes, and what it is refused for."""

from __future__ import annotations

import random

import pytest

from sublet.machinery.settings import ConfigurationError
from sublet.scheduler.configuration import load, parse
from sublet.scheduler.framework import Attempt

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def profile(**stated):
    return parse({**HEAD, "profiles": [stated]}).profiles[stated.get("schedulerName", "default-scheduler")]


def plugin(profile, name):
    return next((each for each in profile.plugins if each.name == name), None)


def best(world, profile, pod):
    attempt = Attempt(pod, profile)
    assert attempt.prepare(world.cluster)
    nodes = attempt.feasible(world.cache.nodes.values(), 1000)
    return attempt.best(nodes, world.cluster, random.Random(1)).name


def test_pods_are_packed_when_the_most_allocated_node_is_preferred(world):
    world.node("empty")
    world.node("busy")
    world.pod(on="busy", cpu="2")
    args = {"scoringStrategy": {"type": "MostAllocated"}}
    packing = profile(
        pluginConfig=[{"name": "NodeResourcesFit", "args": args}],
        plugins={"multiPoint": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}},
    )
    assert best(world, packing, world.pod(cpu="1")) == "busy"
    assert world.best(world.pod(cpu="1")) == "empty"


def test_a_shape_says_what_utilization_is_worth(world):
    world.node("empty")
    world.node("half")
    world.pod(on="half", cpu="2", memory="4Gi")
    shape = [
        {"utilization": 0, "score": 0},
        {"utilization": 50, "score": 10},
        {"utilization": 100, "score": 0},
    ]
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "cpu", "weight": 1}],
        "requestedToCapacityRatio": {"shape": shape},
    }
    shaped = profile(pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}])
    scores = {
        name: plugin(shaped, "NodeResourcesFit").score([], world.pod(cpu="1m"), world.cache.nodes[name])
        for name in ("empty", "half")
    }
    assert scores["half"] > 99 > 1 > scores["empty"]


def test_a_plugin_may_filter_without_scoring_and_weigh_more():
    made = profile(
        plugins={
            "score": {
                "disabled": [{"name": "PodTopologySpread"}],
                "enabled": [{"name": "ImageLocality", "weight": 7}],
            }
        }
    )
    spread = plugin(made, "PodTopologySpread")
    assert spread.filter is not None and spread.score is None
    assert plugin(made, "ImageLocality").weight == 7


def test_everything_may_be_switched_off_and_some_on_again():
    made = profile(plugins={"multiPoint": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeName"}]}})
    assert [each.name for each in made.plugins] == ["NodeName"]
    assert not made.preemption


def test_added_affinity_keeps_all_pods_of_a_profile_on_some_nodes(world):
    world.node("a", labels={"pool": "gold"})
    world.node("b")
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gold"]}]}
    added = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    made = profile(pluginConfig=[{"name": "NodeAffinity", "args": {"addedAffinity": added}}])
    attempt = Attempt(world.pod(), made)
    assert attempt.prepare(world.cluster)
    assert [n.name for n in attempt.feasible(world.cache.nodes.values(), 9)] == ["a"]
    assert "1 node(s) didn't match scheduler-enforced node affinity" in attempt.message(2)


def test_default_constraints_spread_the_pods_of_one_controller(world):
    for name, zone in (("a", "1"), ("b", "2")):
        world.node(name, labels={"zone": zone})
    owner = {"uid": "rs", "kind": "ReplicaSet", "name": "rs", "apiVersion": "apps/v1", "controller": True}
    constraint = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    args = {"defaultingType": "List", "defaultConstraints": [constraint]}
    made = profile(pluginConfig=[{"name": "PodTopologySpread", "args": args}])
    world.pod(on="a", owner=owner)
    attempt = Attempt(world.pod(owner=owner), made)
    assert attempt.prepare(world.cluster)
    assert [n.name for n in attempt.feasible(world.cache.nodes.values(), 9)] == ["b"]


def test_several_profiles_stand_beside_each_other():
    settings = parse({**HEAD, "profiles": [{"schedulerName": "one"}, {"schedulerName": "two"}]})
    assert set(settings.profiles) == {"one", "two"}


def test_seconds_and_shares_are_taken():
    settings = parse(
        {**HEAD, "podInitialBackoffSeconds": 2, "podMaxBackoffSeconds": 4, "percentageOfNodesToScore": 30}
    )
    assert (settings.initial_backoff, settings.max_backoff, settings.percentage_of_nodes) == (2, 4, 30)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "apiVersion is missing"),
        ({**HEAD, "apiVersion": "kubescheduler.config.k8s.io/v1beta3"}, "apiVersion must be one of"),
        ({**HEAD, "profile": []}, "unknown key profile: did you mean profiles?"),
        ({**HEAD, "extenders": [{"urlPrefix": "http://x"}]}, "extenders: there are none"),
        ({**HEAD, "podInitialBackoffSeconds": 0}, "must be greater than 0"),
        ({**HEAD, "percentageOfNodesToScore": 101}, "must be 0 to 100, not 101"),
        ({**HEAD, "profiles": [{}, {}]}, 'the profile "default-scheduler" is stated twice'),
        (
            {**HEAD, "profiles": [{"plugins": {"score": {"enabled": [{"name": "Nope"}]}}}]},
            'there is no scheduler plug-in "Nope"',
        ),
        ({**HEAD, "profiles": [{"plugins": {"scores": {}}}]}, 'there is no extension point "scores"'),
        (
            {**HEAD, "profiles": [{"pluginConfig": [{"name": "NodeName", "args": {"a": 1}}]}]},
            'the scheduler plug-in "NodeName" takes no args',
        ),
        (
            {
                **HEAD,
                "profiles": [
                    {"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "X"}}}]}
                ],
            },
            'NodeResourcesFit: scoringStrategy.type: Unsupported value: "X"',
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(document, says):
    with pytest.raises(ConfigurationError) as caught:
        parse(document)
    assert says in str(caught.value)


def test_a_file_is_named_with_what_is_wrong_in_it(tmp_path):
    file = tmp_path / "scheduler.yaml"
    file.write_text("apiVersion: [")
    with pytest.raises(ConfigurationError, match=r"scheduler\.yaml: "):
        load(file)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(tmp_path / "none")
