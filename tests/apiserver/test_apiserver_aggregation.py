"""API aggregation against real API servers over TLS: availability, proxying, discovery and OpenAPI merged."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.authentication.build import AuthenticationSettings
from sublet.apiserver.server import HTTPServer, tls_context
from sublet.apiserver.settings import APIServerSettings
from sublet.apiserver.webhookclient import CallFailed
from sublet.client.client import Client
from sublet.client.exchange import Application, Connection, Request, Response, User
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import Forbidden
from sublet.pki.authority import SERVER, Authority
from sublet.store.open import open_store

APISERVICES = resource("apiservices.apiregistration.k8s.io")
ADMIN = User("admin", ("system:masters", "system:authenticated"))
FLUNDERS = Resource("wardle.example.com", "v1alpha1", "flunders", "Flunder", True)
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NAME = "v1alpha1.wardle.example.com"

DEFINITION: Object = {
    "metadata": {"name": "flunders.wardle.example.com"},
    "spec": {
        "group": "wardle.example.com", "scope": "Namespaced",
        "names": {"plural": "flunders", "kind": "Flunder", "shortNames": ["fl"], "categories": ["all"]},
        "versions": [{
            "name": "v1alpha1", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {
                "description": "A fish.", "type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
            }},
        }],
    },
}  # fmt: skip


def flunder(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "spec": spec,
        "metadata": {"name": name, "namespace": "default"},
    }  # fmt: skip


class Behind:
    """An HTTP server with the application behind it, which tests may replace."""

    def __init__(self) -> None:
        self.application: Application | None = None
        self.requests: list[Request] = []

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        assert self.application is not None
        return await self.application.handle(request)


@dataclass
class Pair:
    """This server, and another behind it."""

    api: APIServer
    client: Client
    behind: Behind
    other: APIServer
    authority: Authority
    server: HTTPServer
    reachable: bool = True

    def passed(self) -> list[Request]:
        """What the other server was asked about its objects."""
        return [request for request in self.behind.requests if "/flunders" in request.path]

    async def ask(self, method: str, path: str, *, user: User = ADMIN, accept: str = "") -> Response:
        where, _, query = path.partition("?")
        headers = {"accept": accept} if accept else {}
        return await self.api.handle(Request(method, where, query, headers, user=user))

    async def read(self, path: str, accept: str = "") -> Any:
        response = await self.ask("GET", path, accept=accept)
        assert response.status == 200, (path, response.status, await body(response))
        return codec.decode_json(await body(response))

    async def register(self, **more: Any) -> None:
        """Service, endpoints and APIService, as one who deploys an aggregated server does."""
        await self.expose()
        spec = {
            "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000,
            "versionPriority": 200, "service": {"namespace": "default", "name": "flunder"},
            "caBundle": base64.b64encode(self.authority.cert_pem).decode(), **more,
        }  # fmt: skip
        await self.client.create(APISERVICES, {"metadata": {"name": NAME}, "spec": spec})

    async def expose(self) -> None:
        where = {"name": "flunder", "namespace": "default"}
        await self.client.create(
            resource("services"), {"metadata": where, "spec": {"ports": [{"port": 443}]}}
        )
        await self.client.create(resource("endpointslices.discovery.k8s.io"), {
            "metadata": {**where, "labels": {"kubernetes.io/service-name": "flunder"}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.9.9.9"]}],
            "ports": [{"name": "", "port": 8443}],
        })  # fmt: skip

    async def condition(self) -> Object:
        found = await self.client.get(APISERVICES, NAME)
        conditions = (found.get("status") or {}).get("conditions") or [{}]
        return {k: v for k, v in conditions[0].items() if k != "lastTransitionTime"}

    async def available(self) -> None:
        async def yes() -> bool:
            return (await self.condition()).get("status") == "True"

        await until(yes)


async def body(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(10):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.02)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    proxy, authority = Authority.create("front-proxy-ca"), Authority.create("flunder-ca")
    serving = authority.issue("flunder", (), ("flunder.default.svc",), usages=(SERVER,))
    for name, data in (("crt", serving.cert_pem), ("key", serving.key_pem), ("ca", proxy.cert_pem)):
        (tmp_path / name).write_bytes(data)
    behind = Behind()
    server = HTTPServer(
        behind, ssl_context=tls_context(tmp_path / "crt", tmp_path / "key", [tmp_path / "ca"])
    )
    await server.start()
    other_store, store = await open_store("memory://"), await open_store("memory://")
    other = APIServer(
        APIServerSettings(authentication=AuthenticationSettings(front_proxy_ca=proxy.cert_pem)), other_store
    )
    behind.application = other
    await other.start()
    await other.client_as(ADMIN, "t").create(
        resource("customresourcedefinitions.apiextensions.k8s.io"), DEFINITION
    )
    client_pair = proxy.issue("front-proxy-client")

    async def resolve(namespace: str, name: str, port: int) -> tuple[str, int]:
        if not made.reachable:
            raise CallFailed(f'no endpoints available for service "{name}"')
        return "127.0.0.1", server.port

    api = APIServer(
        APIServerSettings(proxy_client_cert=client_pair.cert_pem, proxy_client_key=client_pair.key_pem),
        store, resolve_service=resolve, detect_mutation=True,
    )  # fmt: skip
    made = Pair(api, api.client_as(ADMIN, "tester/1.0"), behind, other, authority, server)
    await api.start()
    yield made
    await api.stop()
    await server.stop(0.5)
    await other.stop()
    await store.close()
    await other_store.close()


# -- requests --


async def test_requests_are_passed_on_as_their_user(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    made = await pair.client.create(FLUNDERS, flunder("f", size=3))
    assert made["apiVersion"] == "wardle.example.com/v1alpha1"
    found = await pair.client.list(FLUNDERS, "default")
    assert [item["metadata"]["name"] for item in found["items"]] == ["f"]
    assert found["metadata"]["resourceVersion"]
    changed = await pair.client.patch(FLUNDERS, "f", {"spec": {"size": 4}}, "default")
    assert changed["spec"]["size"] == 4
    await pair.client.delete(FLUNDERS, "f", "default")


async def test_who_asks_is_told_in_headers_and_cannot_be_forged(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    user = User("ann", ("system:masters", "ops"), "7", {"example.com/Scopes": ("a", "b")})
    request = Request(
        "GET", FLUNDERS.path("default"), user=user, remote="10.0.0.7:4711",
        headers={
            "authorization": "Bearer secret", "x-remote-user": "root", "x-remote-extra-x": "y",
            "impersonate-user": "", "accept": "application/json", "cookie": "a=b",
        },
    )  # fmt: skip
    del request.headers["impersonate-user"]  # type: ignore[attr-defined]
    assert (await pair.api.handle(request)).status == 200
    (asked,) = pair.passed()
    headers = asked.headers
    assert headers["x-remote-user"] == "ann"
    assert headers["x-remote-group"].split("\n") == ["system:masters", "ops"]
    assert headers["x-remote-uid"] == "7"
    assert headers["x-remote-extra-example.com%2fscopes"].replace("\n", ", ") == "a, b"
    assert headers["x-forwarded-for"] == "10.0.0.7"
    assert not {"authorization", "cookie", "x-remote-extra-x"} & set(headers)
    assert asked.peer_certificate is not None


async def test_both_servers_decide_who_may(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    bob = pair.api.client_as(User("bob", ("system:authenticated",)), "t")
    with pytest.raises(Forbidden, match='User "bob" cannot list resource "flunders"'):
        await bob.list(FLUNDERS, "default")
    assert not pair.passed()
    group = "rbac.authorization.k8s.io"
    await pair.client.create(resource(f"clusterroles.{group}"), {
        "metadata": {"name": "fish"},
        "rules": [{"apiGroups": ["wardle.example.com"], "resources": ["*"], "verbs": ["*"]}],
    })  # fmt: skip
    await pair.client.create(resource(f"clusterrolebindings.{group}"), {
        "metadata": {"name": "fish"}, "roleRef": {"kind": "ClusterRole", "name": "fish", "apiGroup": group},
        "subjects": [{"kind": "User", "name": "bob", "apiGroup": group}],
    })  # fmt: skip
    with pytest.raises(Forbidden):
        await bob.list(FLUNDERS, "default")
    assert len(pair.passed()) == 1


async def test_watches_stream(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    seen = asyncio.Queue[str]()

    async def watch() -> None:
        async for event in pair.client.watch(FLUNDERS, "default"):
            if event.type == "BOOKMARK":
                continue
            seen.put_nowait(f"{event.type} {event.object['metadata']['name']}")

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(10):
            for name in "ab":
                await pair.client.create(FLUNDERS, flunder(name))
                assert await seen.get() == f"ADDED {name}"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_an_upgraded_connection_is_passed_through(pair: Pair) -> None:
    await pair.register()
    await pair.available()

    class Echo:
        async def handle(self, request: Request) -> Response:
            assert request.upgradable

            async def echo(connection: Connection) -> None:
                while data := await connection.read():
                    await connection.write(data.upper())

            return Response(101, [("Upgrade", "shout"), ("Connection", "Upgrade")], upgrade=echo)

    pair.behind.application = Echo()
    path = FLUNDERS.path("default", "f", "shout")
    headers = {"connection": "Upgrade", "upgrade": "shout"}
    response = await pair.api.handle(Request("GET", path, headers=headers, user=ADMIN, upgradable=True))
    assert response.status == 101
    assert response.upgrade is not None

    class Peer:
        def __init__(self) -> None:
            self.left = [b"hello"]
            self.heard = asyncio.Event()
            self.got = b""

        async def read(self) -> bytes:
            if self.left:
                return self.left.pop()
            await self.heard.wait()
            return b""

        async def write(self, data: bytes) -> None:
            self.got += data
            self.heard.set()

        def write_eof(self) -> None:
            return None

        async def close(self) -> None:
            return None

    peer = Peer()
    async with asyncio.timeout(10):
        await response.upgrade(peer)
    assert peer.got == b"HELLO"


# -- availability --


async def test_an_available_server_passed_all_checks(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    assert await pair.condition() == {
        "type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed",
    }  # fmt: skip
    assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 0' in pair.api.metrics.text()


async def test_what_an_unavailable_server_lacks_is_told_and_requests_get_503(pair: Pair) -> None:
    slices, services = resource("endpointslices.discovery.k8s.io"), resource("services")

    async def becomes(reason: str) -> Object:
        async def so() -> Any:
            found = await pair.condition()
            return found if found.get("reason") == reason else None

        return await until(so)  # type: ignore[no-any-return]

    await pair.register()
    await pair.available()
    slice_ = await pair.client.get(slices, "flunder", "default")
    slice_["endpoints"][0]["conditions"] = {"ready": False}
    await pair.client.update(slices, slice_)
    found = await becomes("MissingEndpoints")
    assert found["message"] == (
        'endpointslices for service/flunder in "default" have no addresses with port name ""'
    )
    await pair.client.delete(slices, "flunder", "default")
    assert (await becomes("EndpointsNotFound"))["status"] == "False"
    service = await pair.client.get(services, "flunder", "default")
    service["spec"]["ports"][0]["port"] = 444
    await pair.client.update(services, service)
    found = await becomes("ServicePortError")
    assert found["message"] == 'service/flunder in "default" is not listening on port 443'
    await pair.client.delete(services, "flunder", "default")
    found = await becomes("ServiceNotFound")
    assert found["message"] == 'service/flunder in "default" is not present'
    for path in (FLUNDERS.path("default"), FLUNDERS.root):
        response = await pair.ask("GET", path)
        assert (response.status, await body(response)) == (503, b"service unavailable\n")
    name = "apiserver_request_terminations_total"
    assert f'{name}{{code="503",component="apiserver"' in pair.api.metrics.text()
    await pair.expose()
    await pair.available()


async def test_a_server_that_answers_wrongly_is_not_available(pair: Pair) -> None:
    class Broken:
        async def handle(self, _request: Request) -> Response:
            return Response(500, [], b"no")

    pair.behind.application = Broken()
    await pair.register()

    async def failed() -> bool:
        return (await pair.condition()).get("reason") == "FailedDiscoveryCheck"

    await until(failed)
    message = (await pair.condition())["message"]
    url = f"https://127.0.0.1:{pair.server.port}{FLUNDERS.root}"
    assert message == f"failing or missing response from {url}: bad status from {url}: 500"
    counted = f'aggregator_unavailable_apiservice_total{{name="{NAME}",reason="FailedDiscoveryCheck"}} 1'
    assert counted in pair.api.metrics.text()


async def test_a_server_that_is_not_there_is_told_of_in_gos_words(pair: Pair) -> None:
    await pair.server.stop(0)
    await pair.register()

    async def failed() -> bool:
        return (await pair.condition()).get("reason") == "FailedDiscoveryCheck"

    await until(failed)
    address = f"127.0.0.1:{pair.server.port}"
    url = f"https://{address}{FLUNDERS.root}"
    why = f'Get "{url}": dial tcp {address}: connect: connection refused'
    assert (await pair.condition())["message"] == f"failing or missing response from {url}: {why}"


async def test_nobody_is_sent_elsewhere(pair: Pair) -> None:
    class Elsewhere:
        async def handle(self, request: Request) -> Response:
            if "/flunders" in request.path:
                return Response(302, [("Location", "https://10.0.0.1/secret")], b"")
            assert pair.other is not None
            return await pair.other.handle(request)

    pair.behind.application = Elsewhere()
    await pair.register()
    await pair.available()
    response = await pair.ask("GET", FLUNDERS.path("default"))
    assert response.status == 502
    assert await body(response) == b"the backend attempted to redirect this request, which is not permitted"
    assert not response.header("location")


async def test_a_certificate_of_somebody_else_is_not_believed_unless_told_to(pair: Pair) -> None:
    """The server is available, as it answers; whoever asks it is told that it cannot be believed."""
    wrong = base64.b64encode(Authority.create("other").cert_pem).decode()
    await pair.register(caBundle=wrong)
    await pair.available()
    response = await pair.ask("GET", FLUNDERS.path("default"))
    text = b"error trying to reach service: tls: failed to verify certificate: x509: certificate signed by unknown "
    assert (response.status, await body(response)) == (503, text + b"authority\n")
    found = await pair.client.get(APISERVICES, NAME)
    del found["spec"]["caBundle"]
    await pair.client.update(APISERVICES, {**found, "spec": {**found["spec"], "insecureSkipTLSVerify": True}})

    async def answered() -> bool:
        return (await pair.ask("GET", FLUNDERS.path("default"))).status == 200

    await until(answered)


async def test_a_server_that_has_just_gone_is_told_apart_from_a_missing_one(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    pair.reachable = False
    response = await pair.ask("GET", FLUNDERS.path("default"))
    assert (response.status, await body(response)) == (503, b"service unavailable\n")
    pair.reachable = True
    await pair.server.stop(0)
    response = await pair.ask("GET", FLUNDERS.path("default"))
    assert response.status == 503
    assert (await body(response)).startswith(b"error trying to reach service: ")


# -- discovery and OpenAPI --


async def test_discovery_lists_what_others_serve(pair: Pair) -> None:
    await pair.register()
    await pair.available()

    async def current() -> Any:
        groups = (await pair.read("/apis", V2))["items"]
        found = [group for group in groups if group["metadata"]["name"] == "wardle.example.com"]
        return found and found[0]["versions"][0]["freshness"] == "Current" and groups

    groups = await until(current)
    names = [group["metadata"]["name"] for group in groups]
    wardle = groups[names.index("wardle.example.com")]
    assert wardle["versions"][0]["version"] == "v1alpha1"
    (row,) = wardle["versions"][0]["resources"]
    assert (row["resource"], row["scope"], row["shortNames"]) == ("flunders", "Namespaced", ["fl"])
    assert row["responseKind"] == {"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"}
    assert [each["subresource"] for each in row["subresources"]] == ["status"]
    groups = (await pair.read("/apis"))["groups"]
    assert [g["name"] for g in groups] == names
    group = await pair.read("/apis/wardle.example.com")
    assert group["preferredVersion"] == {"groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1"}
    listed = await pair.read(FLUNDERS.root)
    assert [each["name"] for each in listed["resources"]] == ["flunders", "flunders/status"]
    assert FLUNDERS.root in (await pair.read("/"))["paths"]


async def test_discovery_marks_a_silent_server_as_stale_and_forgets_a_removed_one(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    await pair.client.delete(resource("services"), "flunder", "default")

    async def version() -> Any:
        for group in (await pair.read("/apis", V2))["items"]:
            if group["metadata"]["name"] == "wardle.example.com":
                return group["versions"][0]
        return None

    async def stale() -> bool:
        return (await version())["freshness"] == "Stale"

    await until(stale)
    await pair.client.delete(APISERVICES, NAME)

    async def gone() -> bool:
        return await version() is None

    await until(gone)
    assert (await pair.ask("GET", FLUNDERS.path("default"))).status == 404


async def test_openapi_documents_are_merged(pair: Pair) -> None:
    await pair.register()
    await pair.available()
    root = "apis/wardle.example.com/v1alpha1"

    async def index() -> Any:
        return (await pair.read("/openapi/v3"))["paths"].get(root)

    address = (await until(index))["serverRelativeURL"]
    document = await pair.read(address)
    name = "com.example.wardle.v1alpha1.Flunder"
    assert document["components"]["schemas"][name]["description"] == "A fish."

    async def merged() -> Any:
        whole = await pair.read("/openapi/v2")
        return whole if name in whole["definitions"] else None

    whole = await until(merged)
    assert f"/{root}/namespaces/{{namespace}}/flunders" in whole["paths"]
    assert "/api/v1/pods" in whole["paths"]
    assert not [path for path in whole["paths"] if path.startswith("/apis/wardle.example.com/v1/")]
    await pair.client.delete(APISERVICES, NAME)

    async def withdrawn() -> bool:
        return name not in (await pair.read("/openapi/v2"))["definitions"] and not await index()

    await until(withdrawn)


class TellsOfItsGroup:
    """An API server made of Kubernetes' own library: its group has a document of its own in version 3 too."""

    ROOT = "apis/wardle.example.com"

    def __init__(self, application: Application) -> None:
        self._application = application

    async def handle(self, request: Request) -> Response:
        if request.path == f"/openapi/v3/{self.ROOT}":
            return json_response({"openapi": "3.0.0", "info": {"title": "wardle", "version": "v1"}})
        response = await self._application.handle(request)
        if request.path != "/openapi/v3":
            return response
        index = codec.decode_json(await body(response))
        for root in (self.ROOT, "version"):
            index["paths"][root] = {"serverRelativeURL": f"/openapi/v3/{root}?hash=A"}
        return json_response(index)


def json_response(document: Any) -> Response:
    return Response(200, [("Content-Type", "application/json")], codec.encode_json(document))


async def test_the_document_of_a_group_is_asked_of_who_serves_the_group(pair: Pair) -> None:
    pair.behind.application = TellsOfItsGroup(pair.other)
    await pair.register()
    await pair.available()
    root = TellsOfItsGroup.ROOT

    async def index() -> Any:
        return (await pair.read("/openapi/v3"))["paths"]

    async def listed() -> Any:
        return (await index()).get(root)

    address = (await until(listed))["serverRelativeURL"]
    assert (await pair.read(address))["info"]["title"] == "wardle"
    paths = await index()
    assert list(paths) == sorted(paths)
    assert (await pair.read(paths["version"]["serverRelativeURL"]))["info"]["title"] == "Kubernetes"
    await pair.client.delete(APISERVICES, NAME)

    async def withdrawn() -> bool:
        return root not in await index()

    await until(withdrawn)
    assert (await pair.ask("GET", f"/openapi/v3/{root}")).status == 404


# -- local APIServices --


async def test_custom_groups_have_local_api_services_as_long_as_they_are_served(pair: Pair) -> None:
    definitions = resource("customresourcedefinitions.apiextensions.k8s.io")
    await pair.client.create(definitions, DEFINITION)

    async def local() -> Any:
        found = await pair.client.list(APISERVICES)
        return next((x for x in found["items"] if x["metadata"]["name"] == NAME and x.get("status")), None)

    found = await until(local)
    assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert found["spec"] == {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 1000,
        "versionPriority": 100,
    }  # fmt: skip
    assert found["status"]["conditions"][0]["message"] == "Local APIServices are always available"
    await pair.client.delete(APISERVICES, NAME)
    await until(local)
    await pair.client.delete(definitions, "flunders.wardle.example.com")

    async def gone() -> bool:
        return await local() is None

    await until(gone)


async def test_an_api_service_takes_a_group_over_from_a_definition_and_gives_it_back(pair: Pair) -> None:
    definitions = resource("customresourcedefinitions.apiextensions.k8s.io")
    await pair.client.create(definitions, DEFINITION)

    async def served() -> bool:
        return (await pair.ask("GET", FLUNDERS.path("default"))).status == 200

    await until(served)

    async def local() -> bool:
        found = await pair.client.list(APISERVICES)
        return any(x["metadata"]["name"] == NAME for x in found["items"])

    await until(local)
    await pair.client.create(FLUNDERS, flunder("own"))
    await pair.expose()
    found = await pair.client.get(APISERVICES, NAME)
    found["spec"] |= {
        "service": {"namespace": "default", "name": "flunder", "port": 443},
        "caBundle": base64.b64encode(pair.authority.cert_pem).decode(),
    }
    await pair.client.update(APISERVICES, found)

    async def theirs() -> bool:
        response = await pair.ask("GET", FLUNDERS.path("default"))
        return response.status == 200 and json.loads(await body(response))["items"] == []

    await until(theirs)
    await pair.client.delete(APISERVICES, NAME)

    async def ours() -> bool:
        response = await pair.ask("GET", FLUNDERS.path("default"))
        return response.status == 200 and len(json.loads(await body(response))["items"]) == 1

    await until(ours)
