"""The kubernetes Python client, with watches."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from kubernetes import client, config, watch  # type: ignore[import-untyped]

from sublet.testing import RunningControlPlane


@pytest.fixture(scope="module")
def api(plane: RunningControlPlane) -> Any:
    return config.new_client_from_config(str(plane.kubeconfig))


def config_map(name: str, **data: str) -> Any:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_objects_are_written_and_read_back(api: Any) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map("default", config_map("written", a="1"))
    core.patch_namespaced_config_map("written", "default", {"data": {"b": "2"}})
    assert core.read_namespaced_config_map("written", "default").data == {"a": "1", "b": "2"}
    core.delete_namespaced_config_map("written", "default")
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_config_map("written", "default")
    assert caught.value.status == 404


def test_a_watch_sees_every_change_in_order(api: Any) -> None:
    core = client.CoreV1Api(api)
    version = core.list_namespaced_config_map("default").metadata.resource_version
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        stream = watch.Watch().stream(
            core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=10
        )
        for event in stream:
            if event["object"].metadata.name == "watched":
                seen.append((event["type"], (event["object"].data or {}).get("n", "")))
                if event["type"] == "DELETED":
                    return

    follower = threading.Thread(target=follow)
    follower.start()
    core.create_namespaced_config_map("default", config_map("watched", n="0"))
    for number in range(1, 5):
        core.patch_namespaced_config_map("watched", "default", {"data": {"n": str(number)}})
    core.delete_namespaced_config_map("watched", "default")
    follower.join(15)
    assert seen == [("ADDED", "0"), *(("MODIFIED", str(n)) for n in range(1, 5)), ("DELETED", "4")]


def test_a_stale_update_conflicts(api: Any) -> None:
    core = client.CoreV1Api(api)
    stale = core.create_namespaced_config_map("default", config_map("raced"))
    core.patch_namespaced_config_map("raced", "default", {"data": {"x": "1"}})
    stale.data = {"x": "2"}
    with pytest.raises(client.ApiException) as caught:
        core.replace_namespaced_config_map("raced", "default", stale)
    assert caught.value.status == 409


def test_a_service_account_token_is_who_it_says(api: Any, plane: RunningControlPlane) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account("default", {"metadata": {"name": "robot"}})
    token = core.create_namespaced_service_account_token("robot", "default", {"spec": {}}).status.token
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = plane.url, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(settings)
    review = client.AuthenticationV1Api(robot).create_self_subject_review({})
    assert review.status.user_info.username == "system:serviceaccount:default:robot"
    with pytest.raises(client.ApiException) as caught:
        client.CoreV1Api(robot).list_namespaced_secret("default")
    assert caught.value.status == 403


def test_a_wrong_token_is_refused(api: Any, plane: RunningControlPlane) -> None:
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = plane.url, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": "Bearer no.such.token"}
    with pytest.raises(client.ApiException) as caught:
        client.CoreV1Api(client.ApiClient(settings)).list_namespace()
    assert caught.value.status == 401
