"""What volumes a pod uses decides where it can run."""

from __future__ import annotations


def claim(world, name, volume=None, modes=("ReadWriteOnce",), cls="csi"):
    spec = {"accessModes": list(modes), "storageClassName": cls, "volumeName": volume or ""}
    obj = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
    if volume:
        obj["status"] = {"phase": "Bound"}
    world.put("persistentvolumeclaims", obj)


def volume(world, name, labels=None, driver="csi.example"):
    spec = {"csi": {"driver": driver, "volumeHandle": name}, "capacity": {"storage": "1Gi"}}
    world.put("persistentvolumes", {"metadata": {"name": name, "labels": labels or {}}, "spec": spec})


def using(world, *names, **more):
    volumes = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names]
    return world.pod(volumes=volumes, **more)


def test_a_claim_for_one_pod_is_given_to_one_pod_of_the_whole_cluster(world):
    world.node("a")
    world.node("b")
    volume(world, "v")
    claim(world, "alone", "v", modes=["ReadWriteOncePod"])
    other = using(world, "alone", on="a")
    nodes, message = world.feasible(using(world, "alone"))
    assert nodes == []
    assert (
        "2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode "
        "already in-use by another pod"
    ) in message
    world.cache.remove_pod(other.uid)
    assert world.feasible(using(world, "alone"))[0] == ["a", "b"]


def test_a_disk_of_one_writer_is_not_shared_on_a_node_unless_both_only_read(world):
    world.node("a")
    disk = {"name": "d", "gcePersistentDisk": {"pdName": "disk"}}
    world.pod(on="a", volumes=[disk])
    assert "1 node(s) had no available disk" in world.feasible(world.pod(volumes=[disk]))[1]
    reading = {"name": "d", "gcePersistentDisk": {"pdName": "other", "readOnly": True}}
    world.pod(on="a", volumes=[reading])
    assert world.feasible(world.pod(volumes=[reading]))[0] == ["a"]


def test_a_node_takes_no_more_volumes_of_a_driver_than_it_can_attach(world):
    world.node("a")
    driver = {"name": "csi.example", "nodeID": "a", "allocatable": {"count": 2}}
    world.put("csinodes.storage.k8s.io", {"metadata": {"name": "a"}, "spec": {"drivers": [driver]}})
    for name in ("one", "two", "three"):
        volume(world, name)
        claim(world, name, name)
    using(world, "one", "two", on="a")
    assert "1 node(s) exceed max volume count" in world.feasible(using(world, "three"))[1]
    assert world.feasible(using(world, "two"))[0] == ["a"]


def test_a_volume_of_a_zone_is_used_in_that_zone(world):
    world.node("a", labels={"topology.kubernetes.io/zone": "1"})
    world.node("b", labels={"topology.kubernetes.io/zone": "2"})
    volume(world, "v", labels={"topology.kubernetes.io/zone": "2__3"})
    claim(world, "c", "v")
    nodes, message = world.feasible(using(world, "c"))
    assert nodes == ["b"]
    assert "1 node(s) had no available volume zone" in message
