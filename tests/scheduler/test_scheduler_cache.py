"""The cache counts right, whatever order things are seen in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sublet.scheduler.cache import Cache
from sublet.scheduler.framework import NODE_ADDED, NODE_LABELS, NODE_RESOURCES, NODE_TAINTS
from sublet.scheduler.podinfo import PodInfo

NODES, PODS = ("a", "b"), ("p", "q", "r")


def pod(uid, node="", cpu="1", port=0):
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    if port:
        container["ports"] = [{"hostPort": port, "containerPort": port}]
    return PodInfo(
        {
            "metadata": {"name": uid, "namespace": "default", "uid": uid},
            "spec": {"containers": [container], "nodeName": node},
        }
    )


def node(name, cpu="4", labels=None, taints=()):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": cpu, "pods": "10"}},
    }


steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(PODS), st.sampled_from(NODES), st.sampled_from("123")),
        st.tuples(st.just("assume"), st.sampled_from(PODS), st.sampled_from(NODES), st.sampled_from("123")),
        st.tuples(st.just("forget"), st.sampled_from(PODS)),
        st.tuples(st.just("remove"), st.sampled_from(PODS)),
        st.tuples(st.just("node"), st.sampled_from(NODES)),
        st.tuples(st.just("no node"), st.sampled_from(NODES)),
    )
)


@given(steps)
def test_what_a_node_has_given_away_is_always_the_sum_of_its_pods(taken):
    cache = Cache()
    expected: dict[str, tuple[str, str]] = {}
    assumed = set()
    known = set()
    for what, name, *rest in taken:
        match what:
            case "set":
                cache.set_pod(pod(name, rest[0], rest[1], port=80))
                expected[name] = (rest[0], rest[1])
                assumed.discard(name)
            case "assume":
                cache.assume(pod(name, cpu=rest[1], port=80), rest[0])
                expected[name] = (rest[0], rest[1])
                assumed.add(name)
            case "forget":
                cache.forget(name)
                if name in assumed:
                    del expected[name]
                    assumed.discard(name)
            case "remove":
                assert cache.remove_pod(name) == (expected.pop(name, None) is not None)
                assumed.discard(name)
            case "node":
                cache.set_node(node(name))
                known.add(name)
            case "no node":
                cache.remove_node(name)
                known.discard(name)
    for name in NODES:
        cache.set_node(node(name))
        info = cache.nodes[name]
        here = {uid: cpu for uid, (where, cpu) in expected.items() if where == name}
        assert set(info.pods) == set(here)
        assert info.requested.get("cpu", 0) == sum(map(int, here.values())) * 10**9
        assert sum(info.ports.values()) == len(here)


def test_a_node_says_what_has_changed_of_it():
    cache = Cache()
    assert cache.set_node(node("a")) == [NODE_ADDED]
    assert cache.set_node(node("a")) == []
    assert cache.set_node(node("a", cpu="8")) == [NODE_RESOURCES]
    assert cache.set_node(node("a", cpu="8", labels={"x": "y"})) == [NODE_LABELS]
    taint = {"key": "k", "effect": "NoSchedule"}
    assert cache.set_node(node("a", cpu="8", labels={"x": "y"}, taints=[taint])) == [NODE_TAINTS]


def test_pods_of_a_node_that_comes_later_are_counted():
    cache = Cache()
    cache.set_pod(pod("p", "late", "3"))
    assert "late" not in cache.nodes
    cache.set_node(node("late"))
    assert cache.nodes["late"].requested["cpu"] == 3 * 10**9
