"""Tricks with paths: whatever a path is made of, it shows nobody what they may not see."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from apiserver_front import RBAC, Answer, Front, front
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sublet.client.exchange import User

__all__ = ["front"]

EVE = User("eve", ("system:authenticated",))
SECRET = "/api/v1/namespaces/kube-system/secrets/treasure"
PIECES = st.sampled_from([
    "api", "v1", "apis", "namespaces", "default", "kube-system", "secrets", "treasure", "configmaps", "mine", "pods",
    "..", ".", "%2e%2e", "%2E", "%2f", "%252f", "%00", "healthz", "version", "watch", "proxy", "status", "", "*", "%20",
    "..%2f..", "%c0%ae", "\\", "openapi", "apps", "%2e", ";x=1", "%2F%2F",
])  # fmt: skip


@pytest.fixture
async def guarded(front: Front) -> Front:
    """eve may read ConfigMaps in default, and every path below /healthz and /openapi."""
    rules = [
        {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"]},
        {"verbs": ["get"], "nonResourceURLs": ["/healthz/*", "/openapi/*", "/version"]},
    ]
    await front.create(f"{RBAC}/clusterroles", {"metadata": {"name": "eve"}, "rules": rules})
    await front.bind("eve", user="eve")
    await front.create(
        "/api/v1/namespaces/kube-system/secrets",
        {"metadata": {"name": "treasure"}, "stringData": {"gold": "ingots"}},
    )
    await front.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "mine"}})
    return front


async def ask(front: Front, path: str, method: str = "GET", **more: Any) -> Answer:
    return await front.ask(method, path, user=EVE, **more)


@pytest.mark.parametrize(
    "path",
    [
        SECRET,
        SECRET.replace("/secrets", "//secrets"),
        "/" + SECRET,
        "/healthz/.." + SECRET,
        "/healthz/%2e%2e" + SECRET,
        "/openapi/../.." + SECRET,
        "/api/v1/namespaces/default/configmaps/../../kube-system/secrets/treasure",
        "/api/v1/namespaces/default/configmaps/mine/../../../kube-system/secrets/treasure",
        "/api/v1/namespaces/default/configmaps/%2e%2e%2f%2e%2e%2fkube-system%2fsecrets%2ftreasure",
        "/api/v1/namespaces/default%2f..%2fkube-system/secrets/treasure",
        "/api/v1/namespaces/kube-system%2fsecrets/treasure",
        "/api/v1/%6eamespaces/kube-system/%73ecrets/treasure",
        "/api/v1/namespaces/kube-system/secrets/treasure%00",
        "/api/v1/namespaces/kube-system/secrets/treasure/",
        "/api/v1/namespaces/kube-system/secrets/treasure/status",
        "/api/v1/watch/namespaces/kube-system/secrets/treasure",
        "/api/v1/namespaces/kube-system/Secrets/treasure",
        "/API/v1/namespaces/kube-system/secrets/treasure",
        "/api/v1/namespaces/kube-system/configmaps;/secrets/treasure",
        "/api/v1/secrets?fieldSelector=metadata.name%3Dtreasure",
        "/api/v1/configmaps/secrets?resource=secrets",
    ],
)
async def test_no_way_of_writing_a_path_leads_around_authorization(guarded: Front, path: str) -> None:
    answer = await ask(guarded, path)
    assert answer.status in (400, 403, 404, 405), path
    assert b"aW5nb3Rz" not in answer.body


async def test_whatever_a_path_is_made_of_it_shows_no_secret_and_is_no_error(guarded: Front) -> None:
    import asyncio

    loop = asyncio.get_running_loop()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(PIECES, min_size=1, max_size=10),
        st.sampled_from(["", "?watch=0", "?fieldSelector=metadata.name%3Dmine"]),
    )
    def check(pieces: list[str], query: str) -> None:
        path = "/" + "/".join(pieces) + query
        answer = asyncio.run_coroutine_threadsafe(ask(guarded, path), loop).result(10)
        assert answer.status < 500, (path, answer.body)
        assert b"aW5nb3Rz" not in answer.body, path

    await asyncio.to_thread(check)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a%b", "a b", "\N{SNOWMAN}", "A", "a" * 300, "a\nb"])
async def test_names_that_are_none_are_never_stored(front: Front, name: str) -> None:
    body = {"metadata": {"name": name}}
    answer = await front.ask("POST", "/api/v1/namespaces/default/configmaps", body)
    assert answer.status == 422
    assert (
        await front.ask("GET", f"/api/v1/namespaces/default/configmaps/{quote(name, safe='')}")
    ).status in (
        400,
        403,
        404,
    )
