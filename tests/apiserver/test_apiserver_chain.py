"""What every request meets on its way: errors, limits, warnings, headers; and the non-resource paths."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable
from typing import Any

import pytest
from apiserver_front import ADMIN, BOB, Front, front

from sublet.apiserver.filters.timeout import parse_duration
from sublet.apiserver.filters.warn import headers as warning_headers
from sublet.client.client import Client
from sublet.client.exchange import Request, Response, User
from sublet.client.proxied import ProxyPath
from sublet.machinery.status import BadRequest

__all__ = ["front"]


async def test_every_response_has_an_audit_id_and_cache_control(front: Front) -> None:
    for path in ("/version", "/nope", "/api/v1/namespaces/default", "/api/v1/namespaces/gone"):
        answer = await front.ask("GET", path)
        assert len(answer.headers["audit-id"]) == 36
        assert "cache-control" in answer.headers
    assert (await front.ask("GET", "/version", headers={"audit-id": "mine"})).headers["audit-id"] == "mine"


async def test_what_nobody_serves_is_a_plain_404(front: Front) -> None:
    for path in ("/nope", "/api/v1/nopes", "/apis/no.group/v1/x", "/api/v1/namespaces/default/pods/x/nope"):
        answer = await front.ask("GET", path)
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        assert answer.headers["content-type"].startswith("text/plain")


async def test_a_verb_that_a_resource_lacks_is_405(front: Front) -> None:
    answer = await front.ask("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
    assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")
    assert (await front.ask("PUT", "/api/v1/namespaces/default/pods", {})).status == 405


async def test_an_unexpected_exception_becomes_a_status_without_ending_anything(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_request: Request, _info: object, _api: object) -> Response:
        raise RuntimeError("boom")

    with monkeypatch.context() as patch:
        patch.setattr("sublet.apiserver.handlers.version.handle", broken)
        answer = await front.ask("GET", "/version")
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert answer.message == "Internal error occurred: RuntimeError: boom"
    assert (await front.ask("GET", "/healthz")).status == 200


async def test_objects_are_found_in_their_scope_only(front: Front) -> None:
    for path in ("/api/v1/pods/x", "/api/v1/namespaces/default/nodes", "/api/v1/namespaces/default/nodes/n"):
        assert (await front.ask("GET", path)).status == 404
    assert (await front.ask("POST", "/api/v1/configmaps", {"metadata": {"name": "c"}})).status == 405
    named = await front.ask("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx")
    assert named.json["kind"] == "PodList"


async def test_errors_come_as_yaml_where_asked(front: Front) -> None:
    answer = await front.ask("GET", "/api/v1/namespaces/gone", headers={"accept": "application/yaml"})
    assert answer.status == 404
    assert b"reason: NotFound" in answer.body


async def test_unknown_fields_come_back_as_warning_headers(front: Front) -> None:
    body = {"metadata": {"name": "c"}, "bogus": 1}
    answer = await front.ask("POST", "/api/v1/namespaces/default/configmaps?fieldValidation=Warn", body)
    assert answer.status == 201
    assert answer.headers["warning"] == '299 - "unknown field \\"bogus\\""'


def test_warnings_cannot_break_out_of_their_header() -> None:
    assert warning_headers(["a\r\nEvil: 1", "a\x00", "a\x85", ""]) == []
    assert warning_headers(['say "x"', 'say "x"', "a\u200bb"]) == [
        ("Warning", '299 - "say \\"x\\""'),
        ("Warning", '299 - "a\u200bb"'.encode().decode("latin-1")),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90.0), ("500ms", 0.5), ("0", 0.0), ("1.5s", 1.5), ("-1s", -1.0)]
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["5", "s", "1x", "--1s", "1 s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"time: (invalid duration|missing unit in duration|unknown unit)"):
        parse_duration(text)


async def test_a_slow_request_ends_at_its_timeout(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(_request: Request, _info: object, _api: object) -> Response:
        await asyncio.sleep(30)
        return Response(200)

    monkeypatch.setattr("sublet.apiserver.handlers.version.handle", slow)
    answer = await front.ask("GET", "/version?timeout=20ms")
    assert (answer.status, answer.json["reason"]) == (504, "Timeout")
    name = "apiserver_request_terminations_total"
    assert f'{name}{{code="504",component="apiserver"' in front.api.metrics.text()


async def test_too_many_requests_at_once_are_refused_in_plain_text() -> None:
    from sublet.apiserver.filters.inflight import InFlight
    from sublet.apiserver.requestinfo import parse

    guard = InFlight(reading=1)
    go = asyncio.Event()

    async def wait(_request: Request) -> Response:
        await go.wait()
        return Response(200)

    def ask(method: str = "GET", path: str = "/api/v1/pods", user: User | None = None) -> Awaitable[Response]:
        request = Request(method, path, user=user)
        request.context["info"] = parse(request)
        return guard(request, wait)

    first = asyncio.ensure_future(ask(user=ADMIN))
    await asyncio.sleep(0)
    second = await ask()
    assert (second.status, second.header("retry-after")) == (429, "1")
    # Those who may do everything are answered all the same, and a HEAD off resources counts as a write.
    more = [asyncio.ensure_future(each) for each in (ask(user=ADMIN), ask("HEAD", "/version"))]
    await asyncio.sleep(0)
    go.set()
    assert [(await each).status for each in (first, *more)] == [200, 200, 200]
    assert (await ask()).status == 200


async def test_version_is_one_that_clients_parse(front: Front) -> None:
    version = (await front.ask("GET", "/version", user=None)).json
    assert (version["major"], version["minor"]) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")


async def test_health_lists_its_checks_and_can_leave_some_out(front: Front) -> None:
    assert (await front.ask("GET", "/livez")).body == b"ok"
    verbose = (await front.ask("GET", "/readyz?verbose")).body.decode()
    assert "[+]etcd ok\n" in verbose
    assert verbose.endswith("readyz check passed\n")
    some = (await front.ask("GET", "/readyz?verbose&exclude=etcd&exclude=nonsense")).body.decode()
    assert "[+]etcd excluded: ok" in some
    assert 'no matches for "nonsense"' in some
    assert (await front.ask("GET", "/healthz/ping")).body == b"ok"
    assert (await front.ask("GET", "/healthz/nope")).status == 404


async def test_a_failed_check_is_500_and_keeps_its_reason_to_itself(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> int:
        raise RuntimeError("secret reason")

    monkeypatch.setattr(front.api.store, "current_revision", fail)
    answer = await front.ask("GET", "/readyz", user=None)
    assert answer.status == 500
    assert b"[-]etcd failed: reason withheld" in answer.body
    assert b"secret" not in answer.body


async def test_metrics_count_requests_under_upstreams_name(front: Front) -> None:
    await front.ask("GET", "/api/v1/namespaces/default")
    text = (await front.ask("GET", "/metrics")).body.decode()
    assert (
        'apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="namespaces"'
        in text
    )
    assert "sublet_loop_lag_seconds_count" in text
    assert "process_resident_memory_bytes" in text


class Streams:
    """Stands for the nodes: remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Request]] = []
        self.response = Response(200, [("Content-Type", "text/plain")], b"line\n")

    async def connect(self, pod: dict[str, Any], subresource: str, request: Request) -> Response:
        self.asked.append((pod["metadata"]["name"], subresource, request))
        return self.response

    async def connect_node(self, node: dict[str, Any], path: ProxyPath, request: Request) -> Response:
        self.asked.append((f"{node['metadata']['name']}:{path.port}", path.target, request))
        return self.response


@pytest.fixture
async def streams(front: Front) -> Streams:
    """Two pods on nodes: ``one`` with one container, ``two`` with two."""
    await front.account("default")
    for name, containers in (("one", ["web"]), ("two", ["a", "b"])):
        spec = {"nodeName": "n", "containers": [{"name": c, "image": "i"} for c in containers]}
        await front.create("/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec})
    front.api.pod_streams = found = Streams()
    return found


POD = "/api/v1/namespaces/default/pods"


async def test_the_only_container_is_the_default(front: Front, streams: Streams) -> None:
    answer = await front.ask("GET", f"{POD}/one/log?tailLines=5")
    assert answer.body == b"line\n"
    assert streams.asked[0][2].query == "container=web&tailLines=5"


@pytest.mark.parametrize(
    ("target", "code", "text"),
    [
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("two/exec?command=sh", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("one/log?container=x", 400, "container x is not valid for pod one"),
        ("one/log?tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("gone/log", 404, 'pods "gone" not found'),
    ],
)
async def test_what_cannot_be_connected_is_explained(
    front: Front, streams: Streams, target: str, code: int, text: str
) -> None:
    answer = await front.ask("GET", f"{POD}/{target}")
    assert answer.status == code
    assert text in answer.message
    assert not streams.asked


async def test_no_credential_of_the_user_leaves_with_the_stream(front: Front, streams: Streams) -> None:
    headers = {
        "authorization": "Bearer x", "cookie": "c", "impersonate-user": "kubernetes-admin", "impersonate-group": "system:masters",
        "sec-websocket-protocol": "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
    }  # fmt: skip
    await front.ask("POST", f"{POD}/one/exec?command=sh", headers=headers, user=ADMIN)
    sent = streams.asked[0][2].headers
    assert set(sent) == {"sec-websocket-protocol"}
    assert sent["sec-websocket-protocol"] == "v5.channel.k8s.io"


async def test_a_proxied_service_goes_to_a_ready_pod_behind_it(front: Front, streams: Streams) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    await front.create(
        "/api/v1/namespaces/default/services", {"metadata": {"name": "web"}, "spec": {"ports": ports}}
    )
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    refused = await front.ask("GET", "/api/v1/namespaces/default/services/web:http/proxy/x")
    assert (refused.status, refused.message) == (503, 'no endpoints available for service "web"')
    await front.create(slices, {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.1.0.1"], "conditions": {"ready": False}, "targetRef": {"kind": "Pod", "name": "two"}},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "one"}},
        ],
    })  # fmt: skip
    await front.api.caches.fresh()
    refused = await front.ask("GET", "/api/v1/namespaces/default/services/web/proxy/x")
    assert (refused.status, refused.message) == (503, 'no endpoints available for service "web"')
    refused = await front.ask("GET", "/api/v1/namespaces/default/services/web:81/proxy/x")
    assert (refused.status, refused.message) == (503, 'no service port 81 found for service "web"')
    answer = await front.ask("GET", "/api/v1/namespaces/default/services/http:web:80/proxy/a/b?c=d")
    assert answer.status == 200
    name, subresource, request = streams.asked[0]
    assert (name, subresource, request.query) == ("one", "proxy", "c=d")
    assert request.path == "/api/v1/namespaces/default/pods/http:one:8080/proxy/a/b"


async def test_proxied_redirects_stay_below_the_proxy(front: Front, streams: Streams) -> None:
    streams.response = Response(302, [("Location", "/login"), ("Connection", "close")])
    answer = await front.ask("GET", f"{POD}/one:8080/proxy/private")
    assert answer.headers["location"] == f"{POD}/one:8080/proxy/login"
    assert "connection" not in answer.headers
    moved = await front.ask("GET", f"{POD}/one:8080/proxy")
    assert (moved.status, moved.headers["location"]) == (301, f"{POD}/one:8080/proxy/")


async def test_a_proxied_service_redirects_below_its_own_path(front: Front, streams: Streams) -> None:
    await front.create(
        "/api/v1/namespaces/default/services",
        {"metadata": {"name": "proxy-web"}, "spec": {"ports": [{"port": 80}]}},
    )
    await front.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "proxy-web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.1.0.2"], "targetRef": {"kind": "Pod", "name": "one"}}],
    })  # fmt: skip
    await front.api.caches.fresh()
    streams.response = Response(302, [("Location", "/login")])
    below = "/api/v1/namespaces/default/services/proxy-web/proxy"
    answer = await front.ask("GET", f"{below}/private")
    assert answer.headers["location"] == f"{below}/login"
    assert streams.asked[0][2].headers["x-forwarded-uri"] == f"{below}/private"


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_links_of_proxied_pages_stay_below_the_proxy(
    front: Front, streams: Streams, coding: str
) -> None:
    page = b'<a href="/x">x</a>'
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Access-Control-Allow-Origin", "*")]
    streams.response = Response(200, [*headers, ("Content-Encoding", coding)] if coding else headers,
                                gzip.compress(page) if coding else page)  # fmt: skip
    answer = await front.ask("GET", f"{POD}/one:8080/proxy/")
    body = gzip.decompress(answer.body) if coding else answer.body
    assert body == f'<a href="{POD}/one:8080/proxy/x">x</a>'.encode()
    assert "access-control-allow-origin" not in answer.headers


async def test_a_nodes_kubelet_is_proxied(front: Front, streams: Streams) -> None:
    await front.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
    answer = await front.ask("GET", "/api/v1/nodes/n1:10250/proxy/stats/summary?only_cpu_and_memory=true")
    assert answer.status == 200
    name, target, request = streams.asked[0]
    assert (name, target, request.query) == ("n1:10250", "/stats/summary", "only_cpu_and_memory=true")
    assert (await front.ask("GET", "/api/v1/nodes/gone/proxy/x")).message == 'nodes "gone" not found'
    refused = await front.ask("GET", "/api/v1/nodes/ftp:n1:1/proxy/x")
    assert (refused.status, refused.message) == (400, 'invalid node request "ftp:n1:1"')
    assert (
        await front.ask("GET", "/api/v1/nodes/n1/proxy/x?dryRun=All")
    ).message == "dryRun is not supported"


async def test_without_nodes_streams_are_refused_clearly(front: Front, streams: Streams) -> None:
    front.api.pod_streams = None
    answer = await front.ask("GET", f"{POD}/one/log")
    assert answer.status == 503
    assert "no connection to the nodes" in answer.message


async def test_logs_need_their_own_permission(front: Front, streams: Streams) -> None:
    assert 'cannot get resource "pods/log"' in (await front.ask("GET", f"{POD}/one/log", user=BOB)).message


async def test_a_method_that_a_built_in_kind_lacks_is_refused_by_the_router(front: Front) -> None:
    answer = await front.ask("DELETE", "/api/v1/namespaces")
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server does not allow this method on the requested resource",
        "reason": "MethodNotAllowed",
        "details": {},
        "code": 405,
    }


async def test_every_answer_bears_a_random_uuid_as_its_audit_id(client: Client) -> None:
    import uuid

    seen = set()
    for _ in range(50):
        text = (await client.raw("GET", "/version")).header("audit-id")
        assert str(uuid.UUID(text)) == text
        assert (uuid.UUID(text).version, uuid.UUID(text).variant) == (4, uuid.RFC_4122)
        seen.add(text)
    assert len(seen) == 50
