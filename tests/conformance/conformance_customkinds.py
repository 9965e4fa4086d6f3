"""Definitions of custom resources for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conformance_client import API, APIError, Object, Resource
from conformance_steps import condition, gone, random_name, wait_for

ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CRDS = "customresourcedefinitions"
EXTENSIONS = "apiextensions.k8s.io/v1"


def definition(
    base: str, *, versions: Sequence[str] = ("v1",), schema: Object | None = None, scope: str = "Namespaced",
    group: str = "", labels: dict[str, str] | None = None,
) -> Object:  # fmt: skip
    """A definition with random names, as the suite makes them. The last version is stored."""
    suffix = random_name("").strip("-")
    kind = f"E2e-test-{base[:30].strip('-')}-{suffix}-crd"
    plural = f"{kind.lower()}s"
    group = group or f"{base}.example.com"
    return {
        "apiVersion": EXTENSIONS,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", **({"labels": labels} if labels else {})},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[-1],
                    "schema": {"openAPIV3Schema": schema or ANYTHING},
                    "subresources": {"status": {}},
                }
                for version in versions
            ],
        },
    }


def crds(api: API) -> Resource:
    """Upstream's own client of definitions is typed, but CRDs go as JSON there too."""
    return api.dynamic(EXTENSIONS, CRDS, "CustomResourceDefinition")


def established(api: API, crd: Object) -> Object:
    """Creates the definition and waits until it is served in every served version."""
    crds(api).create(crd)
    return served(api, crd["metadata"]["name"])


def served(api: API, name: str) -> Object:
    resource = crds(api)

    def ask() -> Object | None:
        found = resource.get(name)
        state = condition(found, "Established")
        return found if state and state["status"] == "True" else None

    found = wait_for(ask, f"{name} is established")
    spec = found["spec"]
    for version in spec["versions"]:
        if version["served"]:
            path = f"/apis/{spec['group']}/{version['name']}"
            wait_for(
                lambda p=path: spec["names"]["plural"] in [r["name"] for r in api.get_json(p)["resources"]],
                f"{name} in {path}",
                ignore=APIError,
            )
    return found


def primed(api: API, crd: Object) -> None:
    """An instance comes and goes; a watch of any version from its creation on begins with its deletion."""
    namespace = "default" if crd["spec"]["scope"] == "Namespaced" else ""
    versions = [version["name"] for version in crd["spec"]["versions"] if version["served"]]
    resources = [instances(api, crd, namespace, version) for version in versions]
    body = {"alpha": "foo_123", "beta": 10, "gamma": "bar", "delta": "hello", "epsilon": "foobar", "spec": {}}
    made = resources[0].create({"metadata": {"name": "setup-instance", "namespace": namespace}, **body})
    resources[0].delete("setup-instance")
    for resource in resources:
        with resource.watch(resource_version=made["metadata"]["resourceVersion"]) as watch:
            assert watch.expect("DELETED")["metadata"]["uid"] == made["metadata"]["uid"]


def removed(api: API, crd: Object) -> None:
    """Deletes the definition and waits until neither it nor, in discovery, its plural is there."""
    crds(api).delete(crd["metadata"]["name"])
    gone(crds(api), crd["metadata"]["name"])
    for version in crd["spec"]["versions"]:
        path = f"/apis/{crd['spec']['group']}/{version['name']}"
        wait_for(lambda p=path: not _shown(api, p, crd), f"{crd['metadata']['name']} leaves {path}")


def _shown(api: API, path: str, crd: Object) -> bool:
    answer = api.raw("GET", path)
    assert answer.code in (200, 404), answer
    listed = answer.object["resources"] if answer.code == 200 else ()
    return crd["spec"]["names"]["plural"] in [resource["name"] for resource in listed]


def instances(api: API, crd: Object, namespace: str = "", version: str = "") -> Resource:
    """The custom resources of a definition, in its last version unless told."""
    spec: dict[str, Any] = crd["spec"]
    api_version = f"{spec['group']}/{version or spec['versions'][-1]['name']}"
    return api.dynamic(api_version, spec["names"]["plural"], spec["names"]["kind"], namespace)
