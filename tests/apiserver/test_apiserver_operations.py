"""What operators look at: health checks, metrics, the paths there are, and the server's own lease."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.health import CACHES, HOOKS
from sublet.apiserver.identity import LABEL, Identity
from sublet.client.client import Client
from sublet.client.exchange import Request, Response, User
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.store.interface import StoreError

ADMIN = User("admin", ("system:masters", "system:authenticated"))
LEASES = resource("leases.coordination.k8s.io")


async def ask(api: APIServer, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Response:
    where, _, query = path.partition("?")
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.handle(Request(method, where, query, found, body, user=ADMIN, remote="192.0.2.1:1"))


async def text(api: APIServer, path: str) -> str:
    body = (await ask(api, path)).body
    assert isinstance(body, bytes)
    return body.decode()


# -- health --


@pytest.mark.parametrize(
    ("endpoint", "only"),
    [("livez", set()), ("healthz", set()), ("readyz", {"etcd-readiness", "informer-sync", "shutdown"})],
)
async def test_verbose_health_lists_upstreams_checks_and_says_that_it_passed(
    api: APIServer, endpoint: str, only: set[str]
) -> None:
    lines = (await text(api, f"/{endpoint}?verbose")).splitlines()
    assert lines[0] == "[+]ping ok" and lines[-1] == f"{endpoint} check passed"
    names = {line.removeprefix("[+]").removesuffix(" ok") for line in lines[:-1]}
    assert names == {"ping", "log", "etcd", *only, *HOOKS}


async def test_health_is_ok_alone_and_each_check_has_a_path(api: APIServer) -> None:
    assert await text(api, "/readyz") == "ok"
    assert await text(api, "/readyz/etcd") == "ok"
    assert await text(api, "/livez/poststarthook/rbac/bootstrap-roles") == "ok"
    assert (await ask(api, "/livez/shutdown")).status == 404
    assert (await ask(api, "/readyz/nothing")).status == 404


async def test_a_failing_check_is_500_without_its_reason(
    api: APIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> int:
        raise StoreError("secret reason")

    monkeypatch.setattr(api.store, "current_revision", broken)
    response = await ask(api, "/livez")
    assert response.status == 500 and isinstance(response.body, bytes)
    shown = response.body.decode()
    assert "[+]ping ok\n" in shown and "[-]etcd failed: reason withheld\n" in shown
    assert shown.endswith("livez check failed\n") and "secret" not in shown
    excluded = await text(api, "/livez?exclude=etcd&exclude=nothing&verbose")
    assert "[+]etcd excluded: ok\n" in excluded
    assert 'warn: some health checks cannot be excluded: no matches for "nothing"\n' in excluded


async def test_a_step_of_the_start_that_is_not_done_fails_its_checks(api: APIServer) -> None:
    api.health.reached.discard(CACHES)
    assert "[-]poststarthook/generic-apiserver-start-informers failed: reason withheld" in await text(
        api, "/readyz"
    )


async def test_readiness_ends_with_the_shutdown_while_requests_are_still_answered(api: APIServer) -> None:
    api.begin_shutdown()
    assert "[-]shutdown failed: reason withheld" in await text(api, "/readyz")
    assert await text(api, "/livez") == "ok"
    assert (await ask(api, "/api/v1/namespaces")).status == 200


# -- metrics --


def samples(shown: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in shown.splitlines()
        if line and not line.startswith("#")
    }


async def test_requests_are_counted_under_upstreams_verbs_and_scopes(api: APIServer) -> None:
    made = json.dumps({"metadata": {"name": "x"}}).encode()
    where = "/api/v1/namespaces/default/configmaps"
    await ask(api, where, "POST", made, content_type="application/json")
    await ask(
        api,
        f"{where}?dryRun=All",
        "POST",
        json.dumps({"metadata": {"name": "y"}}).encode(),
        content_type="application/json",
    )
    await ask(api, where)
    await ask(api, "/api/v1/configmaps")
    applied = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}'
    await ask(
        api,
        f"{where}/x?fieldManager=a&force=1",
        "PATCH",
        applied,
        content_type="application/apply-patch+yaml",
    )
    found = samples(await text(api, "/metrics"))

    def count(code: int, verb: str, scope: str, dry_run: str = "") -> float:
        return found.get(
            f'apiserver_request_total{{code="{code}",component="apiserver",dry_run="{dry_run}",group="",'
            f'resource="configmaps",scope="{scope}",subresource="",verb="{verb}",version="v1"}}', 0.0,
        )  # fmt: skip

    assert count(201, "POST", "resource") >= 1 and count(201, "POST", "resource", "All") == 1
    assert count(200, "LIST", "namespace") == 1 and count(200, "LIST", "cluster") >= 1
    assert count(200, "APPLY", "resource") == 1


async def test_metrics_have_the_names_that_dashboards_ask_for(api: APIServer) -> None:
    made = json.dumps({"metadata": {"name": "x"}}).encode()
    await ask(api, "/api/v1/namespaces/default/configmaps", "POST", made, content_type="application/json")
    # Masters are not asked about: somebody else's request has been decided upon by an authorizer.
    anybody = User("anybody", ("system:authenticated",))
    await api.handle(Request("GET", "/version", "", {}, b"", user=anybody, remote="192.0.2.1:1"))
    shown = await text(api, "/metrics")
    for name in (
        "apiserver_request_total", "apiserver_request_duration_seconds_bucket", "apiserver_current_inflight_requests",
        "apiserver_storage_objects", "apiserver_resource_objects", "etcd_request_duration_seconds_bucket",
        "process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds",
        "kubernetes_build_info", "apiserver_admission_step_admission_duration_seconds_bucket",
        "apiserver_authorization_decisions_total", "apiserver_flowcontrol_dispatched_requests_total",
    ):  # fmt: skip
        assert re.search(rf"^{name}[{{ ]", shown, re.M), name


async def test_metrics_are_the_text_format_with_one_type_per_name(api: APIServer) -> None:
    shown = await text(api, "/metrics")
    types = re.findall(r"^# TYPE (\S+)", shown, re.M)
    assert len(types) == len(set(types))
    for line in shown.splitlines():
        assert line.startswith("# ") or re.fullmatch(r'[a-z_]+(\{([a-z_]+="[^"]*",?)*\})? \S+', line), line


async def test_objects_and_watches_are_counted(api: APIServer) -> None:
    response = await ask(api, "/api/v1/namespaces?watch=1")
    stream: Any = response.body
    await anext(stream)
    found = samples(await text(api, "/metrics"))
    assert found['apiserver_storage_objects{resource="namespaces"}'] == 4
    running = (
        'apiserver_longrunning_requests{component="apiserver",group="",resource="namespaces",scope="cluster",'
        'subresource="",verb="WATCH",version="v1"}'
    )
    assert found[running] == 1
    await stream.aclose()
    assert samples(await text(api, "/metrics"))[running] == 0


async def test_the_build_is_told_as_in_version(api: APIServer) -> None:
    version = json.loads(await text(api, "/version"))
    assert f'git_version="{version["gitVersion"]}"' in await text(api, "/metrics")


async def test_health_checks_are_metrics_too(api: APIServer) -> None:
    found = samples(await text(api, "/metrics/slis"))
    assert found['kubernetes_healthcheck{name="etcd",type="readyz"}'] == 1
    assert found['kubernetes_healthchecks_total{name="ping",status="success",type="livez"}'] == 1


async def test_what_pods_ask_for_is_told_as_the_scheduler_tells_it(api: APIServer) -> None:
    def container(name: str, **resources: object) -> dict[str, object]:
        return {"name": name, "image": "i", "resources": resources}

    both = [
        container(
            "a",
            requests={"cpu": "100m", "example.com/gpu": "1"},
            limits={"memory": "1Gi", "example.com/gpu": "1"},
        ),
        container("b", requests={"cpu": "1", "hugepages-2Mi": "2Mi"}, limits={"hugepages-2Mi": "2Mi"}),
    ]
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await ask(api, accounts, "POST", b'{"metadata":{"name":"default"}}', content_type="application/json")
    for name, containers in (("busy", both), ("idle", [container("a")])):
        pod = {
            "metadata": {"name": name},
            "spec": {"containers": containers, "automountServiceAccountToken": False},
        }
        sent = json.dumps(pod).encode()
        made = await ask(
            api, "/api/v1/namespaces/default/pods", "POST", sent, content_type="application/json"
        )
        assert made.status == 201, made.body
    found = samples(await text(api, "/metrics/resources"))
    where = 'namespace="default",node="",pod="busy",priority="0",resource="%s",scheduler="default-scheduler",unit="%s"'
    expected = {
        ("limit", "memory", "bytes"): 2**30, ("limit", "example.com/gpu", ""): 1, ("limit", "hugepages-2Mi", "bytes"): 2**21,
        ("request", "cpu", "cores"): 1.1, ("request", "memory", "bytes"): 2**30, ("request", "example.com/gpu", ""): 1,
        ("request", "hugepages-2Mi", "bytes"): 2**21,
    }  # fmt: skip
    assert found == {
        f"kube_pod_resource_{what}{{{where % (resource, unit)}}}": value
        for (what, resource, unit), value in expected.items()
    }


# -- paths --


async def test_the_root_lists_the_paths_there_are(api: APIServer) -> None:
    shown = await text(api, "/")
    paths = json.loads(shown)["paths"]
    assert shown.startswith('{\n  "paths": [\n')
    assert paths == sorted(paths)
    for path in (
        "/api/v1",
        "/apis/apps/v1",
        "/healthz/etcd",
        "/livez/ping",
        "/readyz/shutdown",
        "/metrics/slis",
        "/version",
    ):
        assert path in paths
        assert (await ask(api, path)).status == 200


@pytest.mark.parametrize(
    "path", ["/debug", "/debug/none", "/configz", "/nothing", "/apis/none/v1", "/metrics/none"]
)
async def test_paths_that_are_not_there_are_404_in_plain_text(api: APIServer, path: str) -> None:
    response = await ask(api, path)
    assert (response.status, response.body) == (404, b"404 page not found\n")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/debug/pprof/", "a Python process has no Go profiles"),
        ("/debug/pprof/heap", "a Python process has no Go profiles"),
        ("/debug/flags/v", "say how much is logged with -v when the server is started"),
        ("/logs", "the machine's log files are not the API server's to show"),
        ("/logs/kube-apiserver.log", "the machine's log files are not the API server's to show"),
    ],
)
async def test_paths_that_mean_nothing_here_are_404_and_say_why(api: APIServer, path: str, why: str) -> None:
    response = await ask(api, path)
    assert isinstance(response.body, bytes)
    assert response.status == 404
    assert json.loads(response.body)["message"] == f"{path} is not served here: {why}"


# -- identity --


async def test_the_server_holds_a_lease_of_its_own_and_renews_it(api: APIServer, client: Client) -> None:
    identity = Identity(api, "Some-Host")
    await identity.renew()
    lease = await client.get(LEASES, identity.name, "kube-system")
    assert objects.labels(lease) == {LABEL: "kube-apiserver", "kubernetes.io/hostname": "some-host"}
    assert lease["spec"]["holderIdentity"].startswith(f"{identity.name}_")
    assert lease["spec"]["leaseDurationSeconds"] == 3600
    await identity.renew()
    again = await client.get(LEASES, identity.name, "kube-system")
    assert again["metadata"]["uid"] == lease["metadata"]["uid"]
    assert again["spec"]["renewTime"] >= lease["spec"]["renewTime"]


async def test_leases_of_servers_that_are_long_gone_are_removed(api: APIServer, client: Client) -> None:
    old = {
        "metadata": {
            "name": "apiserver-gone",
            "namespace": "kube-system",
            "labels": {LABEL: "kube-apiserver"},
        },
        "spec": {
            "holderIdentity": "x",
            "leaseDurationSeconds": 3600,
            "renewTime": "2020-01-01T00:00:00.000000Z",
        },
    }
    await client.create(LEASES, old)
    await asyncio.sleep(0.01)
    await Identity(api).remove_expired()
    names = [objects.name(lease) for lease in (await client.list(LEASES, "kube-system"))["items"]]
    assert "apiserver-gone" not in names


async def test_each_plug_in_that_looked_at_a_write_is_timed(api: APIServer, client: Client) -> None:
    await client.create(resource("configmaps"), {"metadata": {"name": "timed"}}, "default")
    found = await text(api, "/metrics")
    name = "apiserver_admission_controller_admission_duration_seconds"
    labels = 'name="NamespaceLifecycle",operation="CREATE",rejected="false",type="[a-z]+"'
    assert re.search(rf"^{name}_count{{{labels}}} [1-9]", found, re.M)


async def test_sizes_of_what_was_read_are_counted(api: APIServer) -> None:
    await text(api, "/api/v1/namespaces/default")
    found = await text(api, "/metrics")
    labels = 'component="apiserver",group="",resource="namespaces",scope="resource",subresource="",verb="GET",version="v1"'
    assert re.search(rf'^apiserver_response_sizes_bucket{{{labels},le="1000"}} [1-9]', found, re.M)
    assert not re.search(r"^apiserver_response_sizes_count{.*verb=\"POST\"", found, re.M)


async def test_the_servers_own_durations_are_told_without_dry_runs(api: APIServer, client: Client) -> None:
    await client.create(resource("resourcequotas"), {"metadata": {"name": "kept"}}, "default")
    path = "/api/v1/namespaces/default/resourcequotas"
    sent = Request("POST", path, "dryRun=All", body=b'{"metadata":{"name":"tried"}}', user=ADMIN)
    assert (await api.handle(sent)).status == 201
    name = "apiserver_request_sli_duration_seconds"
    found = [line for line in (await text(api, "/metrics")).splitlines() if line.startswith(f"{name}_")]
    labels = 'component="apiserver",group="",resource="resourcequotas",scope="resource",subresource="",verb="POST",version="v1"'
    mine = [line for line in found if labels in line]
    assert f"{name}_count{{{labels}}} 1" in mine
    assert mine[0].startswith(f'{name}_bucket{{{labels},le="0.05"}} ')


async def test_deprecated_kinds_that_were_asked_for_are_named(api: APIServer) -> None:
    await text(api, "/api/v1/componentstatuses")
    labels = 'group="",removed_release="",resource="componentstatuses",subresource="",version="v1"'
    assert f"apiserver_requested_deprecated_apis{{{labels}}} 1" in (await text(api, "/metrics")).splitlines()


async def test_operations_of_the_store_are_counted_by_kind(api: APIServer, client: Client) -> None:
    await client.create(resource("configmaps"), {"metadata": {"name": "counted"}}, "default")
    lines = (await text(api, "/metrics")).splitlines()
    assert any(
        line.startswith('etcd_requests_total{group="",operation="create",resource="configmaps"} ')
        for line in lines
    )


async def test_who_asks_for_one_check_is_told_why_it_fails(api: APIServer) -> None:
    api.begin_shutdown()
    response = await ask(api, "/readyz/shutdown")
    assert (response.status, response.body) == (500, b"internal server error: process is shutting down\n")
