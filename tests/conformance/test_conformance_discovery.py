"""Discovery: aggregated and legacy documents."""

from __future__ import annotations

from typing import Any

from conformance_client import API, JSON, Object
from conformance_customkinds import definition, established, removed
from conformance_names import conformance
from conformance_steps import wait_for

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
EXPECTED = {
    ("", "v1"): {"pods", "namespaces", "configmaps", "services", "secrets", "nodes"},
    ("admissionregistration.k8s.io", "v1"): {"validatingwebhookconfigurations"},
    ("apiextensions.k8s.io", "v1"): {"customresourcedefinitions"},
    ("apiregistration.k8s.io", "v1"): {"apiservices"},
    ("apps", "v1"): {"deployments", "daemonsets", "replicasets", "statefulsets"},
    ("authentication.k8s.io", "v1"): {"tokenreviews"},
    ("authorization.k8s.io", "v1"): {"selfsubjectaccessreviews"},
    ("autoscaling", "v1"): {"horizontalpodautoscalers"},
    ("autoscaling", "v2"): {"horizontalpodautoscalers"},
    ("batch", "v1"): {"jobs", "cronjobs"},
    ("certificates.k8s.io", "v1"): {"certificatesigningrequests"},
    ("coordination.k8s.io", "v1"): {"leases"},
    ("discovery.k8s.io", "v1"): {"endpointslices"},
    ("events.k8s.io", "v1"): {"events"},
    ("networking.k8s.io", "v1"): {"ingresses"},
    ("node.k8s.io", "v1"): {"runtimeclasses"},
    ("policy", "v1"): {"poddisruptionbudgets"},
    ("scheduling.k8s.io", "v1"): {"priorityclasses"},
    ("storage.k8s.io", "v1"): {"csinodes"},
}
"""The group versions the suite names, each with resources it must hold."""


def parameters(content_type: str) -> set[str]:
    return {part.strip() for part in content_type.split(";")}


def aggregated(api: API, path: str, accept: str = AGGREGATED) -> Any:
    answer = api.request("GET", path, headers={"Accept": accept})
    assert parameters(answer.headers["content-type"]) >= parameters(AGGREGATED), answer.headers
    document = answer.object
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    return document


def group_versions(api: API) -> dict[tuple[str, str], dict[str, Object]]:
    """Resources by plural, by (group, version), from both aggregated documents."""
    found = {}
    for path in ("/api", "/apis"):
        for group in aggregated(api, path)["items"]:
            for version in group["versions"]:
                key = group["metadata"].get("name", ""), version["version"]
                found[key] = {resource["resource"]: resource for resource in version["resources"]}
    return found


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]"
)
def test_aggregated_discovery_holds_every_group(api: API) -> None:
    found = group_versions(api)
    for key, resources in EXPECTED.items():
        assert resources <= set(found.get(key, {})), f"{resources} not in {key}: {sorted(found)}"


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]"
)
def test_aggregated_discovery_holds_custom_kinds(api: API) -> None:
    crd = definition("aggregated", versions=("v1alpha1", "v1beta1", "v1"))
    established(api, crd)
    try:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]

        def shown() -> bool:
            found = group_versions(api)
            return all(plural in found.get((group, v), {}) for v in ("v1", "v1beta1", "v1alpha1"))

        wait_for(shown, f"{plural} in aggregated discovery")
        order = [v for g, v in group_versions(api) if g == group]
        assert order == ["v1", "v1beta1", "v1alpha1"]
    finally:
        removed(api, crd)


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers "
    "[Conformance]"
)
def test_accept_headers_choose_the_document(api: API) -> None:
    beta = AGGREGATED.replace("v=v2", "v=v2beta1")
    for path in ("/api", "/apis"):
        aggregated(api, path)
        aggregated(api, path, f"{AGGREGATED},{beta},{JSON}")
        answer = api.request("GET", path, headers={"Accept": JSON})
        assert parameters(answer.headers["content-type"]) == {JSON}
        assert answer.object["kind"] == ("APIVersions" if path == "/api" else "APIGroupList")
        fallen = api.request("GET", path, headers={"Accept": f"{beta},{JSON}"})
        assert parameters(fallen.headers["content-type"]) == {JSON}
        unknown = AGGREGATED.replace("APIGroupDiscoveryList", "Unknown")
        assert api.raw("GET", path, headers={"Accept": unknown}).code == 406


@conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs [Conformance]"
)
def test_raw_aggregated_document_tells_a_custom_kinds_scope_and_kind(api: API) -> None:
    crd = definition("rawdiscovery")
    established(api, crd)
    try:
        group, names = crd["spec"]["group"], crd["spec"]["names"]

        def shown() -> Object | None:
            groups = {item["metadata"]["name"]: item for item in aggregated(api, "/apis")["items"]}
            versions = groups.get(group, {}).get("versions", [])
            found = [r for v in versions if v["version"] == "v1" for r in v["resources"]]
            return next((r for r in found if r["resource"] == names["plural"]), None)

        resource = wait_for(shown, f"{names['plural']} in the document")
        assert resource["scope"] == "Namespaced"
        assert resource["singularResource"] == names["singular"]
        kind = resource["responseKind"]
        assert (kind["kind"], kind.get("group") or group) == (names["kind"], group)
        assert {"get", "list", "watch", "create", "update", "patch", "delete"} <= set(resource["verbs"])
    finally:
        removed(api, crd)


@conformance("[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]")
def test_preferred_version_is_a_version_of_its_group(api: API) -> None:
    groups = api.get_json("/apis/")["groups"]
    assert groups
    for group in groups:
        shown = api.get_json(f"/apis/{group['name']}/")
        assert shown["preferredVersion"] == group["preferredVersion"]
        preferred = group["preferredVersion"]
        assert preferred["groupVersion"] == f"{group['name']}/{preferred['version']}"
        assert preferred in shown["versions"]


@conformance(
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]"
)
def test_each_group_version_lists_its_resources(api: API) -> None:
    groups = {group["name"]: group for group in api.get_json("/apis")["groups"]}
    for (group, version), resources in EXPECTED.items():
        if not group:
            assert version in api.get_json("/api")["versions"]
        else:
            assert f"{group}/{version}" in [v["groupVersion"] for v in groups[group]["versions"]]
            assert api.get_json(f"/apis/{group}")["name"] == group
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        listed = api.get_json(path)
        assert listed["groupVersion"] == f"{group}/{version}".lstrip("/")
        assert resources <= {resource["name"] for resource in listed["resources"]}
