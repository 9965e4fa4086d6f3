"""Which claim a pod gets for extended resources that device classes serve."""

from __future__ import annotations

from sublet.scheduler.extendedclaims import claim_for, served


def device_class(name, extended="", created="2026-01-01T00:00:00Z"):
    spec = {"extendedResourceName": extended} if extended else {}
    return {"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}


def container(name, count, **more):
    return {"name": name, "resources": {"requests": {"cpu": "1", "e.com/gpu": str(count)}}, **more}


def claimed(world, inits, containers):
    """(request -> devices, container -> requests it uses) of the claim for a pod."""
    pod = world.pod()
    pod.spec["initContainers"], pod.spec["containers"] = inits, containers
    claim, mappings = claim_for(pod, {"e.com/gpu": "gpu"})
    counts = {each["name"]: each["exactly"]["count"] for each in claim["spec"]["devices"]["requests"]}
    uses: dict[str, list[str]] = {}
    for each in mappings:
        uses.setdefault(each["containerName"], []).append(each["requestName"])
    return counts, uses


def test_a_resource_is_served_by_the_newest_class_that_states_it_or_by_its_own_name():
    classes = [
        device_class("a", "e.com/gpu"), device_class("c", "e.com/gpu", "2026-02-01T00:00:00Z"),
        device_class("b", "e.com/gpu", "2026-02-01T00:00:00Z"), device_class("d"),
    ]  # fmt: skip
    wanted = ["cpu", "e.com/gpu", "e.com/other", "deviceclass.resource.kubernetes.io/d"]
    assert served(classes, wanted) == {"e.com/gpu": "b", "deviceclass.resource.kubernetes.io/d": "d"}


def test_containers_that_run_together_have_devices_of_their_own(world):
    counts, uses = claimed(
        world, [container("s", 1, restartPolicy="Always")], [container("a", 2), container("b", 1)]
    )
    assert counts == {"container-0-request-1": 1, "container-1-request-1": 2, "container-2-request-1": 1}
    assert uses == {
        "s": ["container-0-request-1"], "a": ["container-1-request-1"], "b": ["container-2-request-1"],
    }  # fmt: skip


def test_one_that_is_done_before_uses_what_others_get_later(world):
    counts, uses = claimed(world, [container("i", 3), container("j", 1)], [container("a", 2)])
    assert counts == {"container-2-request-1": 2, "container-0-request-1": 1}
    assert uses["i"] == ["container-2-request-1", "container-0-request-1"]
    assert len(uses["j"]) == 1


def test_what_the_node_itself_has_of_a_resource_is_counted_there(world):
    world.put("deviceclasses.resource.k8s.io", device_class("gpu", "e.com/gpu"))
    world.node("a")
    world.node("b")
    world.cache.nodes["b"].allocatable["e.com/gpu"] = 10**9
    pod = world.pod()
    pod.spec["containers"], pod.requests["e.com/gpu"] = [container("c", 2)], 2 * 10**9
    attempt = world.attempt(pod)
    assert attempt.prepare(world.cluster)
    attempt.feasible(world.cache.nodes.values(), 10)
    assert {name: why for name, (_, why) in attempt.refused.items()} == {
        "a": "cannot allocate all claims", "b": "Insufficient e.com/gpu",
    }  # fmt: skip


def test_a_node_with_devices_for_the_first_alternative_is_preferred(world):
    for name, kind in (("a", "small"), ("b", "large"), ("c", "small")):
        world.node(name)
        spec = {
            "driver": "d", "nodeName": name, "devices": [{"name": kind, "attributes": {"kind": {"string": kind}}}],
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
        }  # fmt: skip
        world.put("resourceslices.resource.k8s.io", {"metadata": {"name": name}, "spec": spec})
    world.put("deviceclasses.resource.k8s.io", device_class("any"))

    def kind(name):
        selector = {"cel": {"expression": f'device.attributes["d"].kind == "{name}"'}}
        return {"name": name, "deviceClassName": "any", "selectors": [selector], "count": 1}

    requests = [{"name": "r", "firstAvailable": [kind("large"), kind("small")]}]
    claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {"requests": requests}}}
    world.put("resourceclaims.resource.k8s.io", claim)
    claims = [{"name": "c", "resourceClaimName": "c"}]
    assert {world.best(world.pod(resourceClaims=claims)) for _ in range(5)} == {"b"}
