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


def test_a_port_name_is_had_once_and_by_who_starts_first() -> None:
    sidecar = {"name": "side", "image": "i", "restartPolicy": "Always", "ports": [named(81)]}
    main = {"name": "main", "image": "i", "ports": [named(80), {"containerPort": 82}]}
    found = warn.pod(pod(initContainers=[sidecar], containers=[main]), None)
    assert found == [
        'spec.containers[0].ports[0]: duplicate port name "web" with spec.initContainers[0].ports[0], '
        "services and probes that select ports by name will use spec.initContainers[0].ports[0]"
    ]


def named(port: int) -> Object:
    return {"name": "web", "containerPort": port, "protocol": "TCP"}


def test_every_two_overlapping_paths_of_a_projected_volume_are_told_with_their_sources() -> None:
    sources: list[Object] = [
        {"secret": {"name": "s", "items": [{"key": "k", "path": "a/b"}]}},
        {"configMap": {"name": "c"}},
        {"downwardAPI": {"items": [{"path": "a/"}, {"path": "ab"}]}},
        {},
        {"serviceAccountToken": {"path": "a"}},
    ]
    found = warn.pod(pod(volumes=[{"name": "v", "projected": {"sources": sources}}]), None)
    text = 'volume "v" (Projected): overlapping paths'
    assert found == [
        f'{text}: "a" (DownwardAPI) with "a/b" (Secret "s")',
        'volume "v" (Projected) has no sources provided',
        f'{text}: "a" (ServiceAccountToken) with "a/b" (Secret "s")',
        f'{text}: "a" (ServiceAccountToken) with "a" (DownwardAPI)',
    ]


def test_addresses_that_pods_use_and_have_are_told_of() -> None:
    found = warn.pod(
        pod(dnsConfig={"nameservers": ["1.2.3.4", "05.6.7.8"]}, hostAliases=[{"ip": "01.1.1.1"}]), None
    )
    assert [text.partition(" ")[0] for text in found] == [
        "spec.dnsConfig.nameservers[1]:",
        "spec.hostAliases[0].ip:",
    ]
    status = {"podIPs": [{"ip": "fd00::1"}, {"ip": "010.0.0.1"}], "hostIPs": [{"ip": "::ffff:1.2.3.4"}]}
    assert [text.partition(" ")[0] for text in warn.pod_status({"status": status}, None)] == [
        "status.podIPs[1].ip:",
        "status.hostIPs[0].ip:",
    ]
    status = {"loadBalancer": {"ingress": [{"hostname": "a"}, {"ip": "FD00::1"}]}}
    assert [text.partition(" ")[0] for text in warn.service_status({"status": status}, None)] == [
        "status.loadBalancer.ingress[1]:"
    ]


def test_fractional_bytes_are_told_resource_by_resource() -> None:
    amounts = {"memory": "1500m", "ephemeral-storage": "1m", "cpu": "1m"}
    found = warn.pod(pod(containers=container(resources={"limits": amounts, "requests": amounts})), None)
    assert [text.partition(": ")[0].removeprefix("spec.containers[0].resources.") for text in found] == [
        "limits[memory]",
        "requests[memory]",
        "limits[ephemeral-storage]",
        "requests[ephemeral-storage]",
    ]


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


APPARMOR = "container.apparmor.security.beta.kubernetes.io/main"


@pytest.mark.parametrize(
    ("note", "spec", "warned"),
    [
        ("runtime/default", {}, True),
        ("strange", {}, True),
        ("runtime/default", {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}, False),
        ("unconfined", {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}, True),
        ("unconfined", {"containers": container(securityContext={"appArmorProfile": {"type": "Unconfined"}})}, False),
        ("runtime/default", {"os": {"name": "windows"}}, False),
    ],
)  # fmt: skip
def test_a_pod_whose_containers_are_confined_by_an_annotation_is_warned_first(
    note: str, spec: Object, warned: bool
) -> None:
    made = pod(**spec)
    made["metadata"] = {"name": "a.b", "annotations": {APPARMOR: note}}
    told = (
        f'metadata.annotations[{APPARMOR}]: deprecated since v1.30; use the "appArmorProfile" field instead'
    )
    found = warn.pod(made, None)
    assert found[:-1] == ([told] if warned else [])
    assert found[-1].startswith("metadata.name: ")


def test_slices_of_names_are_deprecated_and_those_of_controllers_have_good_addresses() -> None:
    names: Object = {"metadata": {}, "addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]}
    assert warn.endpoint_slice(names, None) == ["spec.addressType: FQDN endpoints are deprecated"]
    assert warn.endpoint_slice(names, names) == []
    odd: Object = {"metadata": {}, "addressType": "IPv4", "endpoints": [{"addresses": ["010.0.0.1"]}]}
    assert len(warn.endpoint_slice(odd, None)) == 1
    for manager in ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"):
        odd["metadata"] = {"labels": {"endpointslice.kubernetes.io/managed-by": manager}}
        assert warn.endpoint_slice(odd, None) == []


def test_drivers_of_devices_are_in_lower_case() -> None:
    told = ['spec.driver: driver names should be lowercase; "A.example" contains uppercase characters']
    assert warn.resource_slice({"metadata": {}, "spec": {"driver": "A.example"}}, None) == told
    assert warn.resource_slice({"metadata": {}, "spec": {"driver": "a.example"}}, None) == []


def test_claims_for_parts_of_bytes_are_told_of_both_amounts() -> None:
    amounts = {"requests": {"storage": "1m"}, "limits": {"storage": "2m"}}
    claim: Object = {"metadata": {}, "spec": {"resources": amounts}}
    assert warn.persistent_volume_claim(claim, None) == [
        'spec.resources.requests[storage]: fractional byte value "1m" is invalid, must be an integer',
        'spec.resources.limits[storage]: fractional byte value "2m" is invalid, must be an integer',
    ]
