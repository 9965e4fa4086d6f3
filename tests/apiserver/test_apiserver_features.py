"""What feature gates change of the API server itself, in the minors that have them on or off."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, User
from sublet.kinds.resources import resource
from sublet.machinery.status import Invalid
from sublet.store.interface import Store

ADMIN = User("admin", ("system:masters", "system:authenticated"))
PODS = resource("pods")


async def ask(api: APIServer, path: str, query: str = "") -> tuple[int, Any]:
    request = Request("GET", path, query, user=ADMIN, remote="192.0.2.1:1")
    response = await api.handle(request)
    return response.status, response.body


@pytest.fixture
async def started(store: Store):
    """``await started("1.33", WatchList=True)`` is a running server."""
    running: list[APIServer] = []

    async def start(minor: str, **gates: bool) -> APIServer:
        api = APIServer(APIServerSettings(minor=minor, feature_gates=gates), store)
        running.append(api)
        await api.start()
        return api

    yield start
    for api in running:
        await api.stop()


@pytest.mark.parametrize("gate", [True, False])
async def test_the_feature_marks_the_end_of_what_any_watch_shows_first(started, gate: bool) -> None:
    api = await started("1.34", WatchList=gate)
    _, chunks = await ask(api, "/api/v1/namespaces", "watch=1&allowWatchBookmarks=true&resourceVersion=0")
    assert b'"ADDED"' in await anext(chunks)
    await api.client.create(resource("namespaces"), {"metadata": {"name": "later"}})
    async with asyncio.timeout(5):
        assert (b"initial-events-end" in await anext(chunks)) == gate
    await chunks.aclose()


async def test_a_watch_that_begins_with_a_list_is_refused_where_the_feature_is_off(started) -> None:
    api = await started("1.33")
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    status, body = await ask(api, "/api/v1/configmaps", query)
    assert status == 422
    assert json.loads(body)["message"] == (
        'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch '
        "unless the WatchList feature gate is enabled"
    )


async def test_it_begins_where_the_gate_says_so(started) -> None:
    api = await started("1.33", WatchList=True)
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    status, body = await ask(api, "/api/v1/configmaps", query)
    assert status == 200
    await body.aclose()


async def test_metrics_tell_every_gate_with_its_stage(started) -> None:
    lines = (await started("1.36", EnvFiles=False)).metrics.text().splitlines()
    assert 'kubernetes_feature_enabled{name="JobManagedBy",stage=""} 1' in lines
    assert 'kubernetes_feature_enabled{name="EnvFiles",stage="BETA"} 0' in lines
    assert 'kubernetes_feature_enabled{name="CBORServingAndStorage",stage="ALPHA"} 0' in lines
    assert 'kubernetes_feature_enabled{name="KMSv1",stage="DEPRECATED"} 0' in lines
    assert 'kubernetes_feature_enabled{name="AllAlpha",stage="ALPHA"} 0' in lines
    assert 'kubernetes_feature_enabled{name="AllBeta",stage="BETA"} 0' in lines
    assert not any('name="AppArmorFields"' in line for line in lines)


async def test_a_pod_is_stored_as_its_minor_stores_it(started) -> None:
    old, new = await started("1.32"), await started("1.36")
    for api, users, generation in ((old, None, 0), (new, False, 1)):
        pod = {
            "metadata": {"name": f"p-{generation}"},
            "spec": {"hostUsers": False, "containers": [{"name": "c", "image": "i"}]},
        }
        await api.client.create(
            resource("serviceaccounts"), {"metadata": {"name": f"a{generation}"}}, "default"
        )
        made = await api.client.create(
            PODS, {**pod, "spec": {**pod["spec"], "serviceAccountName": f"a{generation}"}}, "default"
        )
        assert made["spec"].get("hostUsers") is users
        assert made["metadata"].get("generation", 0) == generation


async def test_a_name_that_a_minor_relaxed_is_refused_by_those_before(started) -> None:
    service = {"metadata": {"name": "1st"}, "spec": {"ports": [{"port": 80}]}}
    with pytest.raises(Invalid, match="a DNS-1035 label must consist of"):
        await (await started("1.35")).client.create(resource("services"), service, "default")


async def test_resizing_is_no_subresource_before_it_is_on(started) -> None:
    for minor, there in (("1.32", False), ("1.33", True)):
        _, body = await ask(await started(minor), "/api/v1")
        assert ("pods/resize" in {each["name"] for each in json.loads(body)["resources"]}) is there


@pytest.mark.parametrize(("minor", "allowed"), [("1.34", True), ("1.35", False)])
async def test_who_may_only_get_may_run_commands_over_a_websocket_before_1_35(
    started, minor: str, allowed: bool
) -> None:
    api = await started(minor)
    role = {
        "metadata": {"name": "reads"},
        "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}],
    }
    await api.client.create(resource("clusterroles.rbac.authorization.k8s.io"), role)
    binding = {
        "metadata": {"name": "reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reads"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    }
    await api.client.create(resource("clusterrolebindings.rbac.authorization.k8s.io"), binding)
    await api.caches.fresh(1.0)
    request = Request(
        "GET",
        "/api/v1/namespaces/default/pods/p/exec",
        "command=ls",
        user=User("reader"),
        remote="192.0.2.1:1",
    )
    assert ((await api.handle(request)).status != 403) is allowed


async def test_health_has_the_checks_of_the_minor(started) -> None:
    for minor, there in (("1.32", False), ("1.36", True)):
        names = (await started(minor)).health.checks("livez")
        assert ("poststarthook/start-kubernetes-service-cidr-controller" in names) is there
        assert ("poststarthook/storage-readiness" in names) is there


@pytest.mark.parametrize(("minor", "left"), [("1.34", "n0"), ("1.36", None)])
async def test_which_node_a_pod_was_meant_for_is_forgotten_when_it_has_one(
    started, make_pod, minor: str, left: str | None
) -> None:
    api = await started(minor)
    await api.client.create(resource("serviceaccounts"), {"metadata": {"name": "default"}}, "default")
    await api.client.create(PODS, make_pod())
    meant = {"status": {"nominatedNodeName": "n0"}}
    await api.client.patch(PODS, "web", meant, "default", subresource="status")
    binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}}
    await api.client.create(PODS, binding, "default", subresource="binding", name="web")
    assert (await api.client.get(PODS, "web", "default"))["status"].get("nominatedNodeName") == left
