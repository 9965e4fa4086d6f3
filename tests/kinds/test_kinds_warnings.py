"""What clients are warned of, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.kinds.rules import warn, warn_pods
from sublet.machinery.kind import Object


def pod(**spec: Any) -> Object:
    containers = spec.pop("containers", [{"name": "main", "image": "i"}])
    return {"metadata": {"name": "web"}, "spec": {"containers": containers, **spec}}


def container(**fields: Any) -> list[Object]:
    return [{"name": "main", "image": "i", **fields}]


def template(**parts: Any) -> Object:
    return {"metadata": {"name": "web", "generation": 1}, "spec": {"template": {**pod(), **parts}}}


def test_an_ordinary_pod_warns_of_nothing() -> None:
    assert warn.pod(pod(), None) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"nodeSelector": {"beta.kubernetes.io/arch": "x"}},
            'spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use "kubernetes.io/arch" instead',
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "z"}]},
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ),
        (
            {"volumes": [{"name": "g", "gitRepo": {}}]},
            "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
        ),
        (
            {"hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]},
            'spec.hostAliases[1].ip: duplicate ip "1.2.3.4"',
        ),
        ({"imagePullSecrets": [{"name": ""}]}, 'spec.imagePullSecrets[0].name: invalid empty name ""'),
        (
            {"containers": container(resources={"limits": {"memory": "1500m"}})},
            'spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer',
        ),
        (
            {"containers": container(ports=[{"containerPort": 80}, {"containerPort": 80}])},
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ),
        (
            {"containers": container(ports=[{"containerPort": 80, "hostIP": "1.2.3.4", "protocol": "TCP"}])},
            "spec.containers[0].ports[0]: hostIP set without hostPort: "
            "{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}",
        ),
        (
            {
                "volumes": [
                    {
                        "name": "v",
                        "configMap": {
                            "name": "c",
                            "items": [{"key": "a", "path": "p"}, {"key": "b", "path": "p/q"}],
                        },
                    }
                ]
            },
            'volume "v" (ConfigMap "c"): overlapping paths: "p/q" with "p"',
        ),
        (
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: "
            "a null labelSelector results in matching no pod",
        ),
    ],
)
def test_a_pod_is_warned_of(spec: Object, text: str) -> None:
    assert warn.pod(pod(**spec), None) == [text]


def test_a_variable_hides_an_earlier_one_unless_it_builds_on_it() -> None:
    variables = [
        {"name": "A", "value": "1"},
        {"name": "A", "value": "$(A)2"},
        {"name": "A", "value": "3"},
    ]
    assert warn.pod(pod(containers=container(env=variables)), None) == [
        'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'
    ]


def test_updates_of_pods_warn_of_nothing() -> None:
    bad = pod(hostAliases=[{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}])
    assert warn.pod(bad, bad) == []


def test_a_template_is_warned_of_when_it_is_new_or_changed() -> None:
    annotated = {"annotations": {"container.apparmor.security.beta.kubernetes.io/main": "x"}}
    new = template(metadata=annotated)
    text = (
        "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/main]: "
        'deprecated since v1.30; use the "appArmorProfile" field instead'
    )
    assert warn.named_workload(new, None) == [text]
    assert warn.named_workload(new, new) == []
    assert warn.named_workload({**new, "metadata": {"name": "web", "generation": 2}}, new) == [text]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("10.0.0.1", ""),
        ("010.0.0.1", 'use "10.0.0.1"'),
        ("::ffff:1.2.3.4", 'use "1.2.3.4"'),
        ("2001:DB8::1", 'RFC 5952 canonical format ("2001:db8::1")'),
    ],
)
def test_addresses_in_unusual_forms_are_told_of(value: str, said: str) -> None:
    found = list(warn.address(value, "p"))
    assert [said in text for text in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("10.0.0.0/8", ""),
        ("10.1.0.0/8", 'is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)'),
        ("010.0.0.0/8", 'use "10.0.0.0/8"'),
        ("2001:DB8::/32", 'canonical format ("2001:db8::/32")'),
    ],
)
def test_ranges_in_unusual_forms_are_told_of(value: str, said: str) -> None:
    found = list(warn.cidr(value, "p"))
    assert [said in text for text in found] == ([True] if said else [])


@given(st.ip_addresses())
def test_canonical_addresses_are_told_of_only_when_they_are_mapped(value: Any) -> None:
    mapped = getattr(value, "ipv4_mapped", None)
    assert bool(list(warn.address(str(value), "p"))) == bool(mapped)


def test_services_are_told_what_is_ignored_and_deprecated() -> None:
    def service(**spec: Any) -> Object:
        return {"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", **spec}}

    assert warn.service(service(externalIPs=["1.2.3.4"]), None) == [
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    ]
    assert warn.service(service(clusterIP="None", sessionAffinity="ClientIP"), None) == [
        "spec.SessionAffinity is ignored for headless services"
    ]
    assert warn.service(service(trafficDistribution="PreferClose"), None) == [
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
    ]


_texts = st.sampled_from(["a", "a/b", "a/", "", "b"])


@given(st.lists(_texts, max_size=5))
def test_paths_that_are_all_different_files_do_not_overlap(paths: list[str]) -> None:
    items = [{"key": "k", "path": path} for path in paths]
    found = list(warn_pods.pod(pod(volumes=[{"name": "v", "secret": {"secretName": "s", "items": items}}])))
    cleaned = [path.rstrip("/") for path in paths if path.rstrip("/")]
    overlapping = any(
        one == other or f"{other}/".startswith(one) or f"{one}/".startswith(other)
        for index, one in enumerate(cleaned)
        for other in cleaned[:index]
    )
    assert bool(found) == overlapping
