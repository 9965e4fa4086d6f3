"""Bytes that are no bodies, paths that are no paths, selectors without end: answered, and never with an internal error."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from fuzz_bodies import MEANT, WORDS

from sublet.apiserver.api import APIServer
from sublet.client.exchange import Request, Response, User
from sublet.kinds import protobuf

ADMIN = User("admin", ("system:masters", "system:authenticated"))
ROUNDS = max(1, int(os.environ.get("SUBLET_SOAK", "2")) // 2)
SECONDS = 20.0
PODS = "/api/v1/namespaces/default/pods"
TYPES = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json-patch+json",
    "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
    "text/plain", "", "application/json;charset=\x00", ";", "application/", "*/*",
)  # fmt: skip
BODIES = (
    b"", b"\x00", b"null", b"[]", b"1", b'"x"', b"{", b"{}", b"\xff\xfe{}", b'{"metadata":{"name":"\xff"}}',
    b'{"a":1,"a":2,"metadata":{"name":"x","name":"y"}}', b'{"metadata":{"name":"a\\u0000b"}}',
    b'{"metadata":{"name":"\\ud800"}}', b'{"metadata":{"annotations":{"a":1e999}}}', b'{"metadata":null,"spec":null}',
    b"\xef\xbb\xbf{}", b"- a\n- b", b"a: &x [*x]", b"a: !!python/object:os.system x", b"{}{}", b"---\n---\n",
    b"k8s\x00", b"k8s\x00\xff\xff\xff\xff\xff", b"a: b: c", b"\t", b"{'a': 'b'}", b"? [a]\n: b", b"1: 2", b"{1: 2}",
    b"? {a: b}\n: c", b"2026-01-01: x", b"a: 2026-01-01", b"a: !!binary aGk=", b"a: !!set {b}", b"<<: 1",
    b"a: .nan", b"a: .inf", b"a: 0x1F", b"a: 1_000", b"on: off",
)  # fmt: skip
POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}]},
}  # fmt: skip


VALUES = (
    "a" * 100_000, "a=b," * 20_000 + "a=b", "a in (" + ",".join(map(str, range(20_000))) + ")", "(" * 5_000,
    "!" * 5_000, "=" * 5_000, ",,,,", "a in (b", "a notin ()", "\x00", "%00", "a>99999999999999999999999", "9" * 5_000,
    "-1", "1.5", "0x10", "null", "𝟙",
)  # fmt: skip


PATHS = (
    "/", "//", "/api", "/api/", "/api//v1", "/api/v1//pods", "/apis//", "/apis/apps", "/apis/apps/v9/x", "/api/v1/namespaces/",
    "/api/v1/namespaces/%00/pods", "/api/v1/namespaces/a%2Fb/pods", "/api/v1/namespaces/../pods", "/api/v1/pods/x",
    "/api/v1/namespaces/default/pods/%2e%2e", "/api/v1/namespaces/default/pods/x/none", "/api/v1/nodes/x/y/z/w",
    "/api/v1/watch/pods", "/api/v1/watch/namespaces/default/pods/x", "/api/v1/watch", "/%", "/%zz", "/api/v1/%ff",
    "/api/v1/namespaces/" + "a" * 5000, "/apis/" + "a/" * 2000, "/openapi/v3/none", "/openapi/v2/x", "/version/x",
)  # fmt: skip


def seeded() -> random.Random:
    return random.Random(int(os.environ.get("SUBLET_SEED", "7")))


async def send(
    api: APIServer,
    method: str,
    path: str,
    body: bytes = b"",
    content_type: str = "application/json",
    **headers: str,
) -> Response:
    """The answer, which must come in time and must not be an internal error."""
    where, _, query = path.partition("?")
    found = {
        "content-type": content_type,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    request = Request(method, where, query, found, body, user=ADMIN, remote="192.0.2.1:1")
    response = await asyncio.wait_for(api.handle(request), SECONDS)
    if not isinstance(response.body, bytes):
        await response.body.aclose()  # type: ignore[attr-defined]
    assert response.status < 500 or any(text in bytes_of(response) for text in MEANT), (
        response.status, response.body, method, path, content_type, body[:2000],
    )  # fmt: skip
    return response


def bytes_of(response: Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def deep(opening: str, closing: str, depth: int) -> bytes:
    return (f'{{"metadata":{{"name":"x"}},"spec":{opening * depth}1{closing * depth}}}').encode()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_that_is_no_object_is_refused(api: APIServer, method: str) -> None:
    for body, content_type in itertools.product(BODIES, TYPES):
        path = PODS if method == "POST" else f"{PODS}/x"
        await send(api, method, path, body, content_type)
        await send(api, method, "/apis/apps/v1/namespaces/default/deployments/x/scale", body, content_type)
        await send(api, method, f"{PODS}/x/eviction", body, content_type)
        await send(api, method, "/apis/authorization.k8s.io/v1/subjectaccessreviews", body, content_type)
        await send(
            api, method, "/api/v1/namespaces/default/serviceaccounts/default/token", body, content_type
        )


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
async def test_nesting_without_end_is_refused(api: APIServer, opening: str, closing: str) -> None:
    for depth, content_type in itertools.product((100, 2_000, 100_000), TYPES[:7]):
        body = deep(opening, closing, depth)
        await send(api, "POST", PODS, body, content_type)
        await send(api, "PATCH", f"{PODS}/x", body, content_type)
        data = body.replace(b'"spec"', b'"data"')
        await send(api, "POST", "/api/v1/namespaces/default/configmaps", data, content_type)


async def test_a_body_over_the_limit_is_refused_with_upstreams_text(api: APIServer) -> None:
    body = json.dumps({"metadata": {"name": "x"}, "data": {"a": "b" * (3 << 20)}}).encode()
    response = await send(api, "POST", "/api/v1/namespaces/default/configmaps", body)
    assert response.status == 413
    assert json.loads(bytes_of(response))["message"] == "Request entity too large: limit is 3145728"


@pytest.mark.parametrize(
    "name", ["labelSelector", "fieldSelector", "continue", "resourceVersion", "limit", "timeout"]
)
async def test_a_hostile_query_is_answered(api: APIServer, name: str) -> None:
    for value in VALUES:
        await send(api, "GET", f"{PODS}?{name}={quote(value)}")
        await send(api, "GET", f"{PODS}?watch=1&timeoutSeconds=1&{name}={quote(value)}")
        await send(api, "DELETE", f"/api/v1/namespaces/none/pods?{name}={quote(value)}")


async def test_a_path_that_is_none_is_answered(api: APIServer) -> None:
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "X")
    for path, method in itertools.product(PATHS, methods):
        await send(api, method, path, b"{}")


async def test_a_strange_accept_header_is_answered(api: APIServer) -> None:
    accepts = (
        "",
        "x",
        ";",
        "*/*;q=x",
        "application/json;as=Table",
        "a/b,c/d;e",
        "," * 1000,
        "application/json;as=;v=;g=",
    )
    paths = (PODS, "/api", "/apis", "/version", "/openapi/v2", "/openapi/v3", "/readyz", "/metrics", "/")
    for accept, path in itertools.product(accepts, paths):
        await send(api, "GET", path, accept=accept)


def damaged(body: bytes, rng: random.Random) -> bytes:
    """The bytes with something flipped, cut, doubled or put in."""
    found = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0 if at < len(found):
                found[at] = rng.randrange(256)
            case 1:
                del found[at : at + rng.choice((1, 2, 10))]
            case 2:
                found[at:at] = found[at : at + rng.choice((1, 5, 50))]
            case 3:
                found[at:at] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
            case _:
                found[at:at] = bytes((rng.choice((0, 0xFF, 0x80, 0x7F, 0x0A)),))
    return bytes(found)


Encode = Callable[[Any], bytes]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("content_type", "encode"),
    [
        ("application/json", lambda obj: json.dumps(obj).encode()),
        ("application/yaml", lambda obj: json.dumps(obj, indent=1).encode()),
        ("application/vnd.kubernetes.protobuf", lambda obj: protobuf.codec().encode_object(obj)),
    ],
)
async def test_soak_damaged_bodies_are_refused_or_taken_whole(
    api: APIServer, content_type: str, encode: Encode
) -> None:
    rng = seeded()
    await send(api, "POST", "/api/v1/namespaces/default/serviceaccounts", b'{"metadata":{"name":"default"}}')
    whole = encode(POD)
    made = await send(api, "POST", f"{PODS}?dryRun=All", whole, content_type)
    assert made.status == 201, bytes_of(made)
    for _ in range(100 * ROUNDS):
        body = damaged(whole, rng)
        response = await send(api, "POST", PODS, body, content_type)
        if response.status == 201:
            name = json.loads(bytes_of(response))["metadata"]["name"]
            assert (await send(api, "GET", f"{PODS}/{quote(name)}")).status == 200
            await send(api, "GET", f"{PODS}/{quote(name)}", accept="application/vnd.kubernetes.protobuf")
            await send(api, "DELETE", f"{PODS}/{quote(name)}", b'{"gracePeriodSeconds":0}')
