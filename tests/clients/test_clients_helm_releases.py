"""A chart with everything that charts have, through the life of its releases by Helm 4."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sublet.testing import RunningControlPlane

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed (pip install -e .[test])")

CHART = Path(__file__).parent / "charts" / "shop"


class Release:
    """One release in a namespace of its own, and what lives there."""

    def __init__(self, plane: RunningControlPlane, namespace: str) -> None:
        from kubernetes import client
        from kubernetes import config as kubernetes_config

        self.namespace = namespace
        self.config = helm.Config(kubeconfig_path=plane.kubeconfig, namespace=namespace)
        api = kubernetes_config.new_client_from_config(str(plane.kubeconfig))
        self.apps, self.core, self.custom = (
            client.AppsV1Api(api), client.CoreV1Api(api), client.CustomObjectsApi(api),
        )  # fmt: skip
        self.batch = client.BatchV1Api(api)

    def write(self, action: str, values: dict[str, Any], name: str, **options: Any) -> dict[str, Any]:
        """``helm install`` or ``upgrade`` with the options that the Python library has no arguments for."""
        from helm_python import _native

        stated = {"namespace": self.namespace, "wait": "watcher", "timeout_seconds": 60, **options}
        none = _native.HANDLE(0)
        made = _native.call_string(
            f"helm_{action}", self.config._raw(), none, none, str(CHART), name, json.dumps(values),
            json.dumps(stated),
        )  # fmt: skip
        found: dict[str, Any] = json.loads(made)
        return found

    def install(self, name: str = "shop", values: dict[str, Any] | None = None, **options: Any) -> Any:
        return self.write("install", values or {}, name, create_namespace=True, **options)

    def upgrade(self, name: str = "shop", values: dict[str, Any] | None = None, **options: Any) -> Any:
        return self.write("upgrade", values or {}, name, **options)

    def web(self, name: str = "shop") -> Any:
        return self.apps.read_namespaced_deployment(f"{name}-web", self.namespace)

    def settings(self, name: str = "shop") -> Any:
        return self.core.read_namespaced_config_map(f"{name}-settings", self.namespace).data

    def maps(self) -> set[str]:
        found = self.core.list_namespaced_config_map(self.namespace).items
        return {item.metadata.name for item in found} - {"kube-root-ca.crt"}


@pytest.fixture
def release(plane: RunningControlPlane, request: pytest.FixtureRequest) -> Iterator[Release]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[-30:].strip("-")
    made = Release(plane, name)
    yield made
    made.config.close()


def test_an_install_makes_the_namespace_the_definitions_and_everything_and_waits_for_it(
    release: Release,
) -> None:
    made = release.install(wait_for_jobs=True)
    assert made["status"] == "deployed" and made["notes"].strip() == "shop is open."
    assert release.web().status.ready_replicas == 2
    assert (
        release.apps.read_namespaced_stateful_set("shop-cache", release.namespace).status.ready_replicas == 1
    )
    claim = release.core.read_namespaced_persistent_volume_claim("data-shop-cache-0", release.namespace)
    assert claim.status.phase == "Bound"
    assert release.batch.read_namespaced_job("shop-import-1", release.namespace).status.succeeded == 1
    order = release.custom.get_namespaced_custom_object(
        "shop.example.org", "v1", release.namespace, "orders", "shop-first"
    )
    assert order["spec"]["express"] is False
    kept = release.core.read_namespaced_config_map("shop-kept", release.namespace).data
    assert kept["policies"] == kept["crd"] == "true" and kept["version"].startswith("v1.36.")


def test_hooks_run_in_order_and_what_succeeded_is_deleted_as_they_say(release: Release) -> None:
    release.install()
    ran = {
        job.metadata.name: job.status.completion_time
        for job in release.batch.list_namespaced_job(release.namespace).items
    }
    assert ran["shop-pre-install"] <= ran["shop-post-install"]
    assert "shop-hook-settings" not in release.maps()
    release.config.test("shop", timeout=30)
    assert release.core.read_namespaced_pod("shop-test", release.namespace).status.phase == "Succeeded"
    with pytest.raises(helm.HelmError, match=r"pre-upgrade hooks failed: resource Job/.*Failed"):
        release.upgrade(values={"hookExitCode": 3})
    assert [each["status"] for each in release.config.history("shop")] == ["deployed", "failed"]


def test_an_upgrade_keeps_what_others_wrote_takes_back_what_it_owned_and_names_conflicts(
    release: Release,
) -> None:
    release.install()
    password = release.core.read_namespaced_secret("shop-password", release.namespace).data
    release.core.patch_namespaced_config_map("shop-settings", release.namespace, {"data": {"mine": "1"}})
    release.apps.patch_namespaced_deployment_scale("shop-web", release.namespace, {"spec": {"replicas": 5}})
    with pytest.raises(
        helm.HelmError, match=r'conflict with "OpenAPI-Generator" with subresource "scale" using apps/v1: '
    ):
        release.upgrade(values={"replicas": 3})
    assert release.web().spec.replicas == 5
    values = {"replicas": 3, "ports": [81, 82], "settings": {"color": "red", "size": None}}
    release.upgrade(values=values, force_conflicts=True)
    web = release.web()
    assert web.spec.replicas == 3 and web.status.ready_replicas == 3
    assert [p.container_port for p in web.spec.template.spec.containers[0].ports] == [81, 82]
    service = release.core.read_namespaced_service("shop-web", release.namespace)
    assert [p.port for p in service.spec.ports] == [81, 82]
    assert release.settings() == {"color": "red", "mine": "1"}
    found = release.core.read_namespaced_secret("shop-password", release.namespace).data
    assert found == password  # the template looked it up


@pytest.mark.parametrize("how", ["three-way merge", "replacement"])
def test_client_side_upgrades_follow_a_server_side_install(release: Release, how: str) -> None:
    release.install()
    release.core.patch_namespaced_config_map("shop-settings", release.namespace, {"data": {"mine": "1"}})
    values = {"replicas": 1, "settings": {"color": "red", "size": None}, "ports": [81]}
    release.upgrade(values=values, server_side_apply="false", force_replace=how == "replacement")
    web = release.web()
    assert web.spec.replicas == 1
    assert [p.container_port for p in web.spec.template.spec.containers[0].ports] == [81]
    assert release.settings() == {"color": "red"} | ({"mine": "1"} if how == "three-way merge" else {})
    release.upgrade(values={"replicas": 2}, server_side_apply="true", force_conflicts=True)
    assert release.web().spec.replicas == 2


def test_a_release_that_fails_rolls_itself_back(release: Release) -> None:
    release.install()
    values = {"image": "invalid.registry.k8s.io/invalid/x:1", "replicas": 3}
    with pytest.raises(helm.HelmError, match="shop-web"):
        release.upgrade(values=values, rollback_on_failure=True, timeout_seconds=4)
    states = [each["status"] for each in release.config.history("shop")]
    assert states == ["superseded", "failed", "deployed"]
    assert release.web().spec.replicas == 2
    release.config.rollback("shop", version=1, wait="watcher", timeout=30)
    assert release.config.history("shop")[-1]["revision"] == 4


def test_what_is_not_helms_is_not_taken_over(release: Release) -> None:
    release.core.create_namespace({"metadata": {"name": release.namespace}})
    release.core.create_namespaced_config_map(release.namespace, {"metadata": {"name": "shop-settings"}})
    with pytest.raises(
        helm.HelmError, match=r'ConfigMap "shop-settings" in namespace ".*" exists and cannot be imported'
    ):
        release.install()
    assert release.maps() == {"shop-settings"}


def test_an_uninstall_leaves_what_is_to_be_kept(release: Release) -> None:
    release.install()
    release.config.uninstall("shop", wait="watcher", timeout=30, keep_history=True)
    assert release.maps() == {"shop-kept"}
    assert not release.apps.list_namespaced_deployment(release.namespace).items
    assert [each["status"] for each in release.config.list(all_states=True)] == ["uninstalled"]
    assert release.custom.list_cluster_custom_object("shop.example.org", "v1", "orders")  # definitions stay


def test_a_release_fits_a_secret_or_says_why_not(release: Release) -> None:
    release.install(values={"ballast": 700_000})
    assert "shop-ballast" in release.maps()
    with pytest.raises(
        helm.HelmError,
        match=r'Secret "sh.helm.release.v1.more.v1" is invalid: data: Too long: may not be more than 1048576 bytes',
    ):
        release.install("more", values={"ballast": 1_200_000, "cache": {"enabled": False}})
