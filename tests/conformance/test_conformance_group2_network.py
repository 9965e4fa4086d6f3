"""Endpoints and EndpointSlices: of pods, of none, mirrored, and how soon."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any

import pytest
from conformance_client import API, Object, Resource
from conformance_names import conformance
from conformance_steps import gone, wait_for
from conformance_workloads import LONG, PAUSE, Workloads, container, controller, pod, uid, when

POD_SECURITY = "baseline"
NODES = 2
SERVICE = "kubernetes.io/service-name"
MANAGED = "endpointslice.kubernetes.io/managed-by"


class Network(Workloads):
    def __init__(self, api: API, namespace: str) -> None:
        super().__init__(api, namespace)
        self.endpoints = api.typed("v1", "endpoints", namespace)
        self.slices = api.typed("discovery.k8s.io/v1", "endpointslices", namespace)

    def service(self, name: str, port: Object, selector: Object | None = None, **more: Any) -> Object:
        spec: Object = {"ports": [{"protocol": "TCP", **port}], **more}
        if selector is not None:
            spec["selector"] = selector
        return self.services.create({"metadata": {"name": name}, "spec": spec})

    def slices_of(self, service: str) -> list[Object]:
        return self.slices.items(label_selector=f"{SERVICE}={service}")

    def web_pod(self, name: str, port: int) -> Object:
        ports = [{"name": "example-name", "containerPort": port, "protocol": "TCP"}]
        self.pods.create(pod(name, {"foo": "bar"}, containers=[container("container1", ports=ports)]))
        return self.pod_running(name)


@pytest.fixture
def network(api: API, namespace: str) -> Network:
    return Network(api, namespace)


def addresses(pods: list[Object]) -> set[str]:
    return {p["status"]["podIP"] for p in pods}


def check_endpoints(network: Network, service: str, wanted: list[tuple[int, set[str]]]) -> None:
    """(port, addresses) of each subset."""

    def ask() -> bool:
        found = when(network.endpoints, service, lambda _: True) or {}
        shown = [
            (s["ports"][0]["port"], {a["ip"] for a in s.get("addresses") or ()})
            for s in found.get("subsets") or ()
        ]
        return sorted(shown, key=lambda s: s[0]) == wanted

    wait_for(ask, f"Endpoints of {service}: {wanted}", LONG)
    [stated] = network.services.get(service)["spec"]["ports"]
    for subset in network.endpoints.get(service).get("subsets") or ():
        [port] = subset["ports"]
        assert (port["name"], port["protocol"]) == (stated["name"], stated["protocol"])
        for address in subset["addresses"]:
            target = address["targetRef"]
            assert (target["kind"], target["namespace"]) == ("Pod", network.namespace)
            assert target["uid"] == uid(network.pods.get(target["name"]))


def check_slices(network: Network, service: str, wanted: list[tuple[int, set[str]]]) -> list[Object]:
    """(port, addresses) of each slice; ready endpoints with nodes and pods as targets."""

    def ask() -> list[Object] | None:
        found = network.slices_of(service)
        shown = [
            (s["ports"][0]["port"], {e["addresses"][0] for e in s.get("endpoints") or ()}) for s in found
        ]
        return found if sorted(shown, key=lambda s: s[0]) == wanted else None

    found = wait_for(ask, f"EndpointSlices of {service}: {wanted}", LONG)
    assert found is not None
    for one in found:
        assert one["addressType"] == "IPv4"
        assert one["metadata"]["labels"][MANAGED] == "endpointslice-controller.k8s.io"
        for endpoint in one["endpoints"]:
            assert endpoint["conditions"]["ready"] is True
            target = network.pods.get(endpoint["targetRef"]["name"])
            assert endpoint["targetRef"]["kind"] == "Pod" and endpoint["targetRef"]["uid"] == uid(target)
            assert endpoint["targetRef"]["namespace"] == network.namespace
            assert endpoint["nodeName"] == target["spec"]["nodeName"]
    return found


@conformance(
    "[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service [Conformance]"
)
def test_slices_of_pods(network: Network) -> None:
    one_port = [{"name": "example-name", "containerPort": 3000, "protocol": "TCP"}]
    two_ports = [
        {"name": "example-name", "containerPort": 3001, "protocol": "TCP"},
        {"name": "other-port", "containerPort": 3002, "protocol": "TCP"},
    ]
    for name, ports in (("pod1", one_port), ("pod2", two_ports)):
        labels = {name: "on", "shared12": "on"}
        network.pods.create(pod(name, labels, containers=[container("container1", ports=ports)]))
    for name, port, selector in (
        ("example-int-port", {"name": "example", "port": 80, "targetPort": 3000}, {"pod1": "on"}),
        (
            "example-named-port",
            {"name": "http", "port": 80, "targetPort": "example-name"},
            {"shared12": "on"},
        ),
        ("example-no-match", {"name": "no-match", "port": 80, "targetPort": 8080}, {"pod3": "on"}),
    ):
        network.service(name, port, selector, publishNotReadyAddresses=True)
    first, second = network.pod_running("pod1"), network.pod_running("pod2")
    named = [(3000, addresses([first])), (3001, addresses([second]))]
    for service, wanted in (("example-int-port", named[:1]), ("example-named-port", named)):
        slices = check_slices(network, service, wanted)
        check_endpoints(network, service, wanted)
    wait_for(lambda: len(network.slices_of("example-no-match")) == 1, "one empty slice")
    [empty] = network.slices_of("example-no-match")
    assert not empty.get("endpoints") and not empty.get("ports"), "a port of nobody"
    check_endpoints(network, "example-no-match", [])
    before = {uid(s) for s in slices}
    network.slices.delete_collection(f"{SERVICE}=example-named-port")
    after = check_slices(network, "example-named-port", named)
    assert not before & {uid(s) for s in after}


@conformance(
    "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches "
    "no pods [Conformance]"
)
def test_slices_of_no_pods(network: Network) -> None:
    name = "example-empty-selector"
    made = network.service(
        name, {"name": "example", "port": 80}, {"does-not-match-anything": "endpoints-exist"}
    )
    [found] = wait_for(lambda: network.slices_of(name), "its slice")
    assert found["metadata"]["labels"][MANAGED] == "endpointslice-controller.k8s.io"
    [owner] = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Service", name, uid(made))
    assert not found.get("endpoints")
    network.services.delete(name)
    wait_for(lambda: not network.slices_of(name), "the slices are gone", LONG)


@conformance(
    "[sig-network] EndpointsController should create Endpoints for Pods matching a Service [Conformance]"
)
def test_endpoints_of_pods(network: Network) -> None:
    first, second = network.web_pod("pod1", 3000), network.web_pod("pod2", 3001)
    network.service("example-int-port", {"name": "example", "port": 80, "targetPort": 3000}, {"foo": "bar"})
    network.service(
        "example-named-port", {"name": "http", "port": 80, "targetPort": "example-name"}, {"foo": "bar"}
    )
    network.service("example-no-match", {"name": "no-match", "port": 80, "targetPort": 8080}, {"foo": "none"})
    check_endpoints(network, "example-int-port", [(3000, addresses([first, second]))])
    named = [(3000, addresses([first])), (3001, addresses([second]))]
    check_endpoints(network, "example-named-port", named)
    wait_for(lambda: when(network.endpoints, "example-no-match", lambda _: True), "empty Endpoints")
    check_endpoints(network, "example-no-match", [])


@conformance(
    "[sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches "
    "no pods [Conformance]"
)
def test_endpoints_of_no_pods(network: Network) -> None:
    name = "example-empty-selector"
    network.service(name, {"name": "example", "port": 80}, {"does-not-match-anything": "endpoints-exist"})
    found = wait_for(lambda: when(network.endpoints, name, lambda _: True), "its Endpoints")
    assert not (found or {}).get("subsets")
    network.services.delete(name)
    gone(network.endpoints, name, LONG)


@conformance(
    "[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete "
    "[Conformance]"
)
def test_custom_endpoints_are_mirrored(network: Network) -> None:
    name = "example-custom-endpoints"
    network.service(name, {"name": "example", "port": 80})

    def custom(ip: str) -> Object:
        """Its port has no name, and it has no resource version."""
        return {"metadata": {"name": name}, "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]}

    def mirrored(ip: str, known: str) -> None:
        def ask() -> bool:
            found = network.slices_of(name)
            for one in found:
                assert one["metadata"]["labels"][MANAGED] == "endpointslicemirroring-controller.k8s.io"
                [endpoint], [port] = one["endpoints"], one["ports"]
                assert port["port"] == 80 and endpoint["addresses"] in ([ip], [known])
            return len(found) == 1 and found[0]["endpoints"][0]["addresses"] == [ip]

        wait_for(ask, f"a slice with {ip}", 12)

    network.endpoints.create(custom("10.1.2.3"))
    mirrored("10.1.2.3", "10.1.2.3")
    network.endpoints.update(custom("10.2.3.4"))
    mirrored("10.2.3.4", "10.1.2.3")
    network.endpoints.delete(name)
    wait_for(lambda: not network.slices_of(name), "the mirror is gone", 12)


SERVICES = 200
PARALLEL = 30


@conformance("[sig-network] Service endpoints latency should not be very high [Conformance]")
def test_the_latency_of_endpoints(api: API, namespace: str) -> None:
    network, name = Network(api, namespace), "svc-latency-rc"
    network.controllers.create(controller(name, 1, {"name": name}, container(name, PAUSE)))
    network.running(1, selector=f"name={name}")
    made: dict[str, float] = {}
    seen: dict[str, float] = {}
    with network.slices.watch() as watch:
        workers = [
            threading.Thread(target=_make_services, args=(api, namespace, number, made))
            for number in range(PARALLEL)
        ]
        for worker in workers:
            worker.start()
        end = time.monotonic() + 60
        while len(seen) < SERVICES and time.monotonic() < end:
            _, found = watch.next()
            if found.get("endpoints"):
                seen.setdefault(found["metadata"]["labels"][SERVICE], time.monotonic())
        for worker in workers:
            worker.join()
    took = sorted(seen[service] - since for service, since in made.items())
    assert len(took) == SERVICES
    assert statistics.median(took) < 20
    assert took[int(SERVICES * 0.99)] < 50


def _make_services(api: API, namespace: str, number: int, made: dict[str, float]) -> None:
    services: Resource = api.acting({}).typed("v1", "services", namespace)
    ports: list[Any] = [{"port": 80, "protocol": "TCP"}]
    for index in range(number, SERVICES, PARALLEL):
        name = f"latency-svc-{index}"
        made[name] = time.monotonic()
        services.create(
            {"metadata": {"name": name}, "spec": {"ports": ports, "selector": {"name": "svc-latency-rc"}}}
        )
