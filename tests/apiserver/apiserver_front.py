"""A whole API server in the test's process, asked with requests as values."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from sublet.apiserver.access import AuthorizationSettings
from sublet.apiserver.api import APIServer
from sublet.apiserver.authentication.build import AuthenticationSettings
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, Response, User
from sublet.pki.authority import Authority, write_key
from sublet.store.open import open_store

ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
BOB = User("bob", ("developers", "system:authenticated"))
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class MovableClock:
    """The system's clock, moved on by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Front:
    """Asks one API server."""

    def __init__(self, api: APIServer, ca: Authority, front_proxy: Authority, clock: MovableClock) -> None:
        self.api = api
        self.ca = ca
        self.front_proxy = front_proxy
        self.clock = clock

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: User | None = ADMIN,
        headers: Mapping[str, str] | None = None,
        certificate: bytes | None = None,
    ) -> Answer:
        """``path`` may hold a query; the body is JSON, or bytes as they are. What is written shows everywhere afterwards."""
        path, _, query = path.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(
            method, path, query, dict(headers or {}), data, user=user, peer_certificate=certificate
        )
        response: Response = await self.api.handle(request)
        if method != "GET":
            await self.api.caches.fresh(5)
        assert isinstance(response.body, bytes)
        return Answer(response.status, {k.lower(): v for k, v in response.headers}, response.body)

    async def create(self, path: str, body: Any, **more: Any) -> Any:
        answer = await self.ask("POST", path, body, **more)
        assert answer.status == 201, answer.body
        return answer.json

    async def bind(self, role: str, *, user: str = "", group: str = "", namespace: str = "") -> None:
        """Grants a ClusterRole, in a namespace or everywhere."""
        kind, name = ("User", user) if user else ("Group", group)
        binding = {
            "metadata": {"generateName": "b-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}],
        }
        where = f"/namespaces/{namespace}/rolebindings" if namespace else "/clusterrolebindings"
        await self.create(RBAC + where, binding)

    async def account(self, name: str = "robot", namespace: str = "default") -> Any:
        return await self.create(
            f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}}
        )

    async def token(self, name: str = "robot", namespace: str = "default", **spec: Any) -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str((await self.create(path, {"spec": spec}))["status"]["token"])

    async def who(self, **more: Any) -> Any:
        """The userInfo of whoever the credentials stand for; the Answer when there is none."""
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        answer = await self.ask("POST", path, {}, user=None, **more)
        return answer.json["status"]["userInfo"] if answer.status == 201 else answer


@asynccontextmanager
async def running(
    authorization: AuthorizationSettings | None = None, **authentication: Any
) -> AsyncIterator[Front]:
    """A started API server over a store in memory, with further fields of its AuthenticationSettings."""
    from cryptography.hazmat.primitives.asymmetric import ec

    clock = MovableClock()
    ca, proxy = Authority.create("kubernetes"), Authority.create("front-proxy-ca")
    settings = AuthenticationSettings(
        client_ca=ca.cert_pem,
        front_proxy_ca=proxy.cert_pem,
        service_account_key=write_key(ec.generate_private_key(ec.SECP256R1())),
        static_tokens={"static-secret": User("carol", ("ops",))},
        **authentication,
    )
    store = await open_store("memory://")
    api = APIServer(
        APIServerSettings(authentication=settings, authorization=authorization or AuthorizationSettings()),
        store, clock=clock, detect_mutation=True,
    )  # fmt: skip
    await api.start()
    yield Front(api, ca, proxy, clock)
    await api.stop()
    await store.close()


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with running() as made:
        yield made


__all__ = ["ADMIN", "BOB", "RBAC", "Answer", "Front", "MovableClock", "front", "running"]
