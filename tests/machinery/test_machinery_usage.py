"""What a pod asks for is the sum Kubernetes makes of its parts."""

from __future__ import annotations

import pytest

from sublet.machinery.usage import canonical, pod_limits, pod_requests, qos_class


def container(cpu="", memory="", limits=None, **more):
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    return {"name": more.pop("name", "c"), "resources": {"requests": requests, "limits": limits or {}}} | more


def pod(containers, init=(), **spec):
    return {"spec": {"containers": containers, "initContainers": list(init)} | spec}


def test_containers_are_summed():
    assert canonical(pod_requests(pod([container("100m", "1Gi"), container("0.4")]))) == {
        "cpu": "500m",
        "memory": "1Gi",
    }


def test_the_largest_init_container_counts_when_it_is_more():
    assert canonical(pod_requests(pod([container("100m")], [container("1"), container("300m")]))) == {
        "cpu": "1"
    }


def test_sidecars_count_beside_containers_and_later_init_containers():
    sidecar = container("200m", restartPolicy="Always")
    assert canonical(pod_requests(pod([container("100m")], [sidecar]))) == {"cpu": "300m"}
    assert canonical(pod_requests(pod([container("100m")], [sidecar, container("1")]))) == {"cpu": "1200m"}
    assert canonical(pod_requests(pod([container("100m")], [container("1"), sidecar]))) == {"cpu": "1"}


def test_pod_level_requests_replace_and_overhead_is_added():
    spec = {"resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "100m", "memory": "1Mi"}}
    assert canonical(pod_requests(pod([container("100m", "1Mi")], **spec))) == {
        "cpu": "2100m",
        "memory": "2Mi",
    }


def test_overhead_adds_only_to_limits_that_exist():
    limited = pod([container(limits={"cpu": "1"})], overhead={"cpu": "100m", "memory": "1Mi"})
    assert canonical(pod_limits(limited)) == {"cpu": "1100m"}


def test_a_pod_being_resized_holds_what_it_was_given():
    resized = pod([container("100m")]) | {
        "status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "1"}}]}
    }
    assert canonical(pod_requests(resized, from_status=True)) == {"cpu": "1"}
    assert canonical(pod_requests(resized)) == {"cpu": "100m"}


FULL = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (pod([container()]), "BestEffort"),
        (pod([container("0")]), "BestEffort"),
        (pod([container("1")]), "Burstable"),
        (pod([container("1", "1Gi", FULL)]), "Guaranteed"),
        (pod([container("1", "1024Mi", FULL)]), "Guaranteed"),
        (pod([container("1", "1Gi", FULL), container()]), "Burstable"),
        (pod([container("500m", "1Gi", FULL)]), "Burstable"),
        (pod([container("1", "1Gi", FULL)], [container("1")]), "Burstable"),
        (pod([container()], resources={"requests": FULL, "limits": FULL}), "Guaranteed"),
        (pod([container()], resources={"requests": FULL}), "Burstable"),
    ],
)
def test_quality_of_service(spec, expected):
    assert qos_class(spec) == expected
