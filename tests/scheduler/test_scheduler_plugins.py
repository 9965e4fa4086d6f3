"""Which nodes each plug-in refuses, in upstream's words, and which it prefers."""

from __future__ import annotations

import pytest

from sublet.machinery.status import BadRequest
from sublet.scheduler.catalog import load, profiles
from sublet.scheduler.podinfo import PodInfo


def test_every_plugin_file_is_found_once():
    names = [plugin.name for plugin in load()]
    assert names[:2] == ["NodeUnschedulable", "NodeName"]
    assert len(names) == len(set(names)) == 15


def test_the_message_counts_each_reason_over_all_nodes(world):
    world.node("a", cpu="1")
    world.node("b", cpu="1", pods="0")
    world.node("c", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
    assert world.feasible(world.pod(cpu="2")) == (
        [],
        "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), 2 Insufficient cpu.",
    )


def test_requests_of_pods_on_the_node_count_and_are_given_back(world):
    world.node("a", cpu="2")
    other = world.pod(on="a", cpu="1500m")
    assert world.feasible(world.pod(cpu="600m"))[0] == []
    world.cache.remove_pod(other.uid)
    assert world.feasible(world.pod(cpu="600m"))[0] == ["a"]


def test_an_assumed_pod_counts_until_it_is_forgotten(world):
    world.node("a", cpu="1")
    pod = world.pod(cpu="1")
    world.cache.assume(pod, "a")
    assert world.feasible(world.pod(cpu="1"))[0] == []
    world.cache.forget(pod.uid)
    assert world.feasible(world.pod(cpu="1"))[0] == ["a"]


def test_a_cordoned_node_takes_only_pods_that_tolerate_it(world):
    world.node("a", unschedulable=True)
    assert "1 node(s) were unschedulable" in world.feasible(world.pod())[1]
    tolerant = world.pod(tolerations=[{"operator": "Exists"}])
    assert world.feasible(tolerant)[0] == ["a"]


def test_selector_and_required_affinity_must_both_match(world):
    world.node("a", labels={"disk": "ssd", "zone": "1"})
    world.node("b", labels={"disk": "ssd", "zone": "2"})
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["2"]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    }
    assert world.feasible(world.pod(nodeSelector={"disk": "ssd"}, affinity=affinity))[0] == ["b"]
    assert (
        "2 node(s) didn't match Pod's node affinity/selector"
        in (world.feasible(world.pod(nodeSelector={"disk": "hdd"}))[1])
    )


def test_a_host_port_is_given_once_per_node(world):
    world.node("a")
    world.pod(on="a", port=80)
    assert "didn't have free ports for the requested pod ports" in world.feasible(world.pod(port=80))[1]
    assert world.feasible(world.pod(port=81))[0] == ["a"]


def test_a_pod_that_must_be_apart_from_its_like_is_kept_apart_both_ways(world):
    world.node("a")
    world.node("b")
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    world.pod(on="a", labels={"app": "x"}, affinity=apart)
    assert world.feasible(world.pod(labels={"app": "x"}, affinity=apart))[0] == ["b"]
    names, message = world.feasible(world.pod(labels={"app": "x"}))
    assert names == ["b"]
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in message


def test_the_first_pod_of_a_group_that_wants_to_be_together_is_let_in_and_the_next_joins_it(world):
    world.node("a", labels={"zone": "1"})
    world.node("b", labels={"zone": "2"})
    together = {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}
            ]
        }
    }
    assert world.feasible(world.pod(labels={"app": "x"}, affinity=together))[0] == ["a", "b"]
    world.pod(on="b", labels={"app": "x"}, affinity=together)
    assert world.feasible(world.pod(labels={"app": "x"}, affinity=together))[0] == ["b"]
    assert world.feasible(world.pod(labels={"app": "x"}, affinity=together, namespace="other"))[0] == [
        "a",
        "b",
    ]


def test_spread_refuses_the_domain_that_would_get_too_far_ahead(world):
    for name, zone in (("a", "1"), ("b", "2")):
        world.node(name, labels={"zone": zone})
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "x"}},
        }
    ]
    world.pod(on="a", labels={"app": "x"})
    assert world.feasible(world.pod(labels={"app": "x"}, topologySpreadConstraints=spread))[0] == ["b"]


def test_the_emptier_node_is_preferred(world):
    world.node("a")
    world.node("b")
    world.pod(on="a", cpu="2")
    assert world.best(world.pod(cpu="1")) == "b"


def test_pods_of_one_owner_are_spread_over_nodes(world):
    world.node("a", cpu="64")
    world.node("b", cpu="60")
    owner = [{"kind": "ReplicaSet", "name": "r", "uid": "r1", "controller": True}]
    pod = world.pod(labels={"app": "x"})
    pod.pod["metadata"]["ownerReferences"] = owner
    world.cache.assume(PodInfo(pod.pod), world.best(PodInfo(pod.pod)))
    second = world.pod(labels={"app": "x"})
    second.pod["metadata"]["ownerReferences"] = owner
    first = next(name for name, node in world.cache.nodes.items() if node.pods)
    assert world.best(PodInfo(second.pod)) != first


def test_a_preferred_affinity_outweighs_a_little_load(world):
    world.node("a")
    world.node("b", labels={"disk": "ssd"})
    world.pod(on="b", cpu="500m")
    wanted = {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    affinity = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": wanted}]
        }
    }
    assert world.best(world.pod(affinity=affinity)) == "b"


def _claim_pod(world):
    return world.pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])


def _claim(**spec):
    return {
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
    }


def test_a_claim_that_is_missing_or_not_bound_holds_the_pod(world):
    world.node("a")
    assert world.feasible(_claim_pod(world))[1] == (
        '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    )
    world.put("persistentvolumeclaims", _claim())
    assert world.feasible(_claim_pod(world))[1] == (
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    )


def _pinned(node):
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {"required": {"nodeSelectorTerms": [term]}}


def test_a_bound_volume_binds_the_pod_to_where_it_is(world):
    world.node("a")
    world.node("b")
    world.put("persistentvolumes", {"metadata": {"name": "pv"}, "spec": {"nodeAffinity": _pinned("b")}})
    world.put("persistentvolumeclaims", {**_claim(volumeName="pv"), "status": {"phase": "Bound"}})
    names, message = world.feasible(_claim_pod(world))
    assert names == ["b"]
    assert "1 node(s) didn't match PersistentVolume's node affinity" in message


def test_a_waiting_claim_takes_a_free_volume_or_a_provisioner(world):
    world.node("a")
    world.node("b")
    world.put("persistentvolumeclaims", _claim(storageClassName="local"))
    storage = {"metadata": {"name": "local"}, "volumeBindingMode": "WaitForFirstConsumer",
               "provisioner": "kubernetes.io/no-provisioner"}  # fmt: skip
    world.put("storageclasses.storage.k8s.io", storage)
    assert (
        "2 node(s) didn't find available persistent volumes to bind" in world.feasible(_claim_pod(world))[1]
    )
    volume = {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
              "nodeAffinity": _pinned("b")}  # fmt: skip
    world.put("persistentvolumes", {"metadata": {"name": "pv"}, "spec": volume})
    assert world.feasible(_claim_pod(world))[0] == ["b"]
    world.put("storageclasses.storage.k8s.io", {**storage, "provisioner": "sublet.dev/local-path"})
    assert world.feasible(_claim_pod(world))[0] == ["a", "b"]


def test_a_profile_can_do_without_plugins_and_an_unknown_name_is_refused():
    stated = [{"schedulerName": "mine", "plugins": {"multiPoint": {"disabled": [{"name": "NodePorts"}]}}}]
    names = {plugin.name for plugin in profiles(stated)["mine"].plugins}
    assert "NodePorts" not in names
    assert "NodeName" in names
    with pytest.raises(BadRequest, match='no scheduler plug-in "NodePort"'):
        profiles([{"plugins": {"filter": {"disabled": [{"name": "NodePort"}]}}}])


def test_a_node_that_has_the_image_is_preferred(world):
    image = {"names": ["registry.example/big:latest"], "sizeBytes": 900 * 2**20}
    world.node("a")
    world.node("b", images=[image])
    assert world.best(world.pod(image="registry.example/big", cpu="1")) == "b"


def test_cpu_and_memory_are_used_in_like_shares(world):
    world.node("a", cpu="10", memory="10Gi")
    world.node("b", cpu="10", memory="10Gi")
    world.pod(on="a", cpu="4", memory="1Gi")
    world.pod(on="b", cpu="1", memory="4Gi")
    assert world.best(world.pod(cpu="1", memory="4Gi")) == "a"


def test_pods_that_are_there_draw_those_they_have_affinity_to(world):
    world.node("a")
    world.node("b")
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
    wants = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "podAffinityTerm": term}
    ]}}  # fmt: skip
    world.pod(on="b", affinity=wants)
    assert world.best(world.pod(labels={"app": "x"})) == "b"
