"""Endpoints, EndpointSlices, Ingresses, addresses and Services as objects."""

from __future__ import annotations

from collections.abc import Callable

from conformance_client import API, MERGE, STRATEGIC, Object, Resource
from conformance_crud import holds
from conformance_names import conformance
from conformance_steps import (
    STATUS_PATCH_CONDITION,
    api_operations,
    change,
    check_discovery,
    condition,
    delete_all,
    gone,
    random_name,
    refused,
    wait_count,
    wait_for,
)

NETWORKING = "networking.k8s.io/v1"
SLICES = "discovery.k8s.io/v1"
NewNamespace = Callable[..., str]


@conformance(
    "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]"
)
def test_the_api_servers_endpoints(api: API) -> None:
    assert api.typed("v1", "services", "default").get("kubernetes")["metadata"]["name"] == "kubernetes"
    endpoints = api.typed("v1", "endpoints", "default").get("kubernetes")
    [listed] = api.typed(SLICES, "endpointslices", "default").items(
        label_selector="kubernetes.io/service-name=kubernetes"
    )
    [subset] = endpoints["subsets"]
    assert len(subset["ports"]) == len(listed["ports"]) == 1
    addresses = [address["ip"] for address in subset["addresses"]]
    assert addresses and addresses == [a for e in listed["endpoints"] for a in e["addresses"]]
    assert subset["ports"][0]["name"] == listed["ports"][0]["name"] == "https"
    assert subset["ports"][0]["port"] == listed["ports"][0]["port"]
    assert listed["addressType"] == "IPv4"
    assert all(endpoint["conditions"]["ready"] for endpoint in listed["endpoints"])


@conformance("[sig-network] API Server should provide secure master service [Conformance]")
def test_the_kubernetes_service(api: API) -> None:
    service = api.typed("v1", "services", "default").get("kubernetes")
    assert 443 in [port["port"] for port in service["spec"]["ports"]]


def annotated(obj: Object, **rest: object) -> None:
    obj["metadata"]["annotations"]["updated"] = "true"
    obj.update(rest)


def operations(resource: Resource, make: Callable[[dict[str, str]], Object], edit: Callable[[Object], None]) -> tuple[
    str, str
]:  # fmt: skip
    """The common API operations; returns the name of the edited object and the label selector of all three."""
    value = random_name("e2e")

    def both(obj: Object) -> None:
        annotated(obj)
        edit(obj)

    updated = api_operations(
        resource,
        lambda: make({"special-label": value}),
        edit_patch={"metadata": {"annotations": {"patched": "true"}}},
        edit=both,
        check_edit=lambda o: o["metadata"]["annotations"]["updated"] == "true",
        selector=f"special-label={value}",
    )
    return updated["metadata"]["name"], f"special-label={value}"


@conformance("[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]")
def test_endpoint_slices(api: API, namespace: str) -> None:
    check_discovery(api, SLICES, "endpointslices")
    resource = api.typed(SLICES, "endpointslices", namespace)

    def make(labels: dict[str, str]) -> Object:
        return {
            "metadata": {"generateName": "e2e-example-ing", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }

    name, selector = operations(resource, make, lambda o: o["endpoints"][0].update(addresses=["1.2.3.5"]))
    assert resource.get(name)["endpoints"][0]["addresses"] == ["1.2.3.5"]
    assert len(api.typed(SLICES, "endpointslices").items(label_selector=selector)) == 3
    delete_all(resource, name, selector, 2)


@conformance("[sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]")
def test_the_life_of_endpoints(api: API, namespace: str) -> None:
    endpoints = api.typed("v1", "endpoints", namespace)
    name, labels, selector = "testservice", {"test-endpoint-static": "true"}, "test-endpoint-static=true"

    def subset(port: int) -> Object:
        return {
            "addresses": [{"ip": "10.0.0.24"}],
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        }

    with endpoints.watch(label_selector=selector) as watch:
        endpoints.create({"metadata": {"name": name, "labels": labels}, "subsets": [subset(80)]})
        watch.until("ADDED", lambda o: o["metadata"]["name"] == name)
        assert name in [
            o["metadata"]["name"] for o in api.typed("v1", "endpoints").items(label_selector=selector)
        ]
        change(endpoints, name, lambda o: o["metadata"]["labels"].update({"test-service": "updated"}))
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-service") == "updated")
        assert endpoints.get(name)["subsets"] == [subset(80)]
        patch = {
            "metadata": {"labels": {"test-service": "patched"}},
            "subsets": [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080}]}],
        }
        endpoints.patch(name, patch, STRATEGIC)
        seen = watch.until("MODIFIED", lambda o: o["metadata"]["labels"]["test-service"] == "patched")
        assert holds(seen["subsets"], patch["subsets"])
        assert holds(endpoints.get(name)["subsets"], patch["subsets"])
        endpoints.delete_collection(selector)
        assert watch.until("DELETED")["metadata"]["name"] == name
    with refused("NotFound"):
        endpoints.get(name)


def ingress_class(api: API) -> str:
    name = random_name("e2e-ingress")
    classes = api.typed(NETWORKING, "ingressclasses")
    classes.create({"metadata": {"name": name}, "spec": {"controller": "example.com/fake"}})
    return name


@conformance("[sig-network] Ingress API should support creating Ingress API operations [Conformance]")
def test_ingresses(api: API, namespace: str) -> None:
    check_discovery(api, NETWORKING, "ingresses", "ingresses/status")
    class_name = ingress_class(api)
    resource = api.typed(NETWORKING, "ingresses", namespace)
    service = {"service": {"name": "default-backend", "port": {"name": "", "number": 8080}}}

    def make(labels: dict[str, str]) -> Object:
        path = {"path": "/foo", "pathType": "Prefix", "backend": service}
        return {
            "metadata": {"generateName": "e2e-example-ing", "labels": labels},
            "spec": {
                "ingressClassName": class_name,
                "defaultBackend": service,
                "rules": [{"host": "foo.bar.com", "http": {"paths": [path]}}],
            },
        }

    name, selector = operations(
        resource, make, lambda o: o["spec"]["defaultBackend"]["service"].update(name="other")
    )
    assert resource.get(name)["spec"]["defaultBackend"]["service"]["name"] == "other"
    assert len(api.typed(NETWORKING, "ingresses").items(label_selector=selector)) == 3
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}},
    }
    patched = resource.patch(name, patch, MERGE, "status")
    assert (
        patched["status"] == patch["status"] and patched["metadata"]["annotations"]["patchedstatus"] == "true"
    )
    both = [{"ip": "169.1.1.2"}, {"hostname": "cloud.example.com"}]
    updated = change(resource, name, lambda o: o["status"]["loadBalancer"].update(ingress=both), "status")
    assert updated["status"]["loadBalancer"]["ingress"] == both
    read = resource.get(name, "status")
    assert read["status"] == updated["status"] and read["metadata"]["uid"] == updated["metadata"]["uid"]
    delete_all(resource, name, selector, 2)


@conformance(
    "[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]"
)
def test_ingress_classes(api: API) -> None:
    check_discovery(api, NETWORKING, "ingressclasses")
    resource = api.typed(NETWORKING, "ingressclasses")

    def make(labels: dict[str, str]) -> Object:
        return {
            "metadata": {"generateName": "ingressclass", "labels": labels},
            "spec": {"controller": "example.com/controller"},
        }

    name, selector = operations(resource, make, lambda _: None)
    delete_all(resource, name, selector, 2)


@conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]"
)
def test_ip_addresses(api: API) -> None:
    check_discovery(api, NETWORKING, "ipaddresses")
    resource = api.typed(NETWORKING, "ipaddresses")
    parent = {"group": "", "resource": "services", "name": "dummy", "namespace": "default"}
    value = random_name("e2e")
    selector = f"e2e={value}"
    names = ["192.168.1.1", "192.168.1.2"]
    for name in names:
        metadata = {"name": name, "labels": {"e2e": value}}
        created = resource.create(
            {"metadata": metadata, "spec": {"parentRef": {**parent, "resource": "foos"}}}
        )
        assert created["spec"]["parentRef"]["name"] == "dummy"
    assert resource.get(names[0])["metadata"]["name"] == names[0]
    assert [o["metadata"]["name"] for o in resource.items(label_selector=selector)] == names
    patched = resource.patch(names[0], {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"]["patched"] == "true"
    updated = change(resource, names[0], lambda o: o["metadata"]["annotations"].update(updated="true"))
    assert updated["metadata"]["annotations"]["updated"] == "true"
    with refused("Invalid", "spec.parentRef"):
        change(resource, names[0], lambda o: o["spec"]["parentRef"].update(name="other"))
    with refused("Invalid"):
        resource.create({"metadata": {"name": "no-address"}, "spec": {"parentRef": parent}})
    delete_all(resource, names[0], selector, 1)


@conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"
)
def test_service_cidrs(api: API) -> None:
    check_discovery(api, NETWORKING, "servicecidrs", "servicecidrs/status")
    resource = api.typed(NETWORKING, "servicecidrs")
    own = resource.get("kubernetes")
    ready = condition(own, "Ready")
    assert ready and ready["status"] == "True" and own["spec"]["cidrs"]
    assert "kubernetes" in [o["metadata"]["name"] for o in resource.items()]
    patched = resource.patch("kubernetes", {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"]["patched"] == "true"
    updated = change(resource, "kubernetes", lambda o: o["metadata"]["annotations"].update(updated="true"))
    assert updated["metadata"]["annotations"]["updated"] == "true"
    assert resource.get("kubernetes", "status")["status"]["conditions"]
    extra = {**STATUS_PATCH_CONDITION, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = [*own["status"]["conditions"], extra]
    patched = resource.patch("kubernetes", {"status": {"conditions": conditions}}, MERGE, "status")
    assert condition(patched, "StatusUpdate") and condition(patched, "Ready")
    updated = change(
        resource, "kubernetes", lambda o: o["status"].update(conditions=own["status"]["conditions"]), "status"
    )
    assert not condition(updated, "StatusUpdate")
    with refused("Invalid"):
        resource.create({"metadata": {"name": random_name("bad")}, "spec": {"cidrs": ["10.0.0.300/24"]}})


SERVICES = "[sig-network] Services should "


@conformance(f"{SERVICES}complete a service status lifecycle [Conformance]")
def test_the_status_of_a_service(api: API, namespace: str) -> None:
    services = api.typed("v1", "services", namespace)
    name, labels, selector = (
        random_name("test-service"),
        {"test-service-static": "true"},
        "test-service-static=true",
    )
    with services.watch(label_selector=selector) as watch:
        services.create(
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "type": "LoadBalancer",
                    "loadBalancerClass": "example.com/internal-vip",
                    "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}],
                },
            }
        )
        watch.until("ADDED")
        assert services.get(name, "status")["status"] == {"loadBalancer": {}}
        load_balancer = {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"loadBalancer": load_balancer},
        }
        services.patch(name, patch, MERGE, "status")
        seen = watch.until(
            "MODIFIED", lambda o: o["metadata"].get("annotations", {}).get("patchedstatus") == "true"
        )
        assert seen["status"]["loadBalancer"] == load_balancer
        extra = {**STATUS_PATCH_CONDITION, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        change(services, name, lambda o: o["status"].setdefault("conditions", []).append(extra), "status")
        seen = watch.until("MODIFIED", lambda o: condition(o, "StatusUpdate") is not None)
        assert seen["status"]["loadBalancer"] == load_balancer
        services.patch(name, {"metadata": {"labels": {"test-service": "patched"}}}, STRATEGIC)
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-service") == "patched")
        services.delete(name)
        assert watch.until("DELETED")["metadata"]["name"] == name


@conformance(f"{SERVICES}delete a collection of services [Conformance]")
def test_services_are_deleted_by_label(api: API, namespace: str) -> None:
    services = api.typed("v1", "services", namespace)
    value = random_name("e2e")
    for number in range(3):
        services.create(
            {
                "metadata": {
                    "name": f"e2e-svc-{'abc'[number]}",
                    "labels": {"e2e": value if number < 2 else "other"},
                },
                "spec": {
                    "type": ("ClusterIP", "NodePort", "ClusterIP")[number],
                    "ports": [{"name": "http", "protocol": "TCP", "port": 8000 + number, "targetPort": 80}],
                },
            }
        )
    wait_count(services, 3)
    services.delete_collection(f"e2e={value}")
    wait_for(
        lambda: [o["metadata"]["name"] for o in services.items()] == ["e2e-svc-c"], "the other service alone"
    )
    gone(api.typed("v1", "endpoints", namespace), "e2e-svc-a")


@conformance(f"{SERVICES}find a service from listing all namespaces [Conformance]")
def test_services_of_all_namespaces(api: API) -> None:
    found = api.typed("v1", "services").items()
    assert ("default", "kubernetes") in [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in found]
