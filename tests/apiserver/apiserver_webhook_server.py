"""A webhook server over real TLS in the test's process: tests say what it answers and see what it was asked."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sublet.machinery.kind import Object
from sublet.pki.authority import SERVER, Authority, KeyPair

Respond = Callable[[Any], Any]
"""From the review to the response (without uid), or to a ``web.Response``; may be a coroutine function."""


class WebhookServer:
    """Listens on ``127.0.0.1:port``; each path answers what :meth:`on` was given for it."""

    def __init__(self, authority: Authority, names: tuple[str, ...]) -> None:
        self.authority = authority
        self.asked: list[tuple[str, Any]] = []
        """(path with query, review) in the order they came."""
        self.credentials: list[str] = []
        """The Authorization header of each, empty where there was none."""
        self.connections = 0
        self.port = 0
        self._names = names
        self._paths: dict[str, Respond] = {}
        self._runner: web.AppRunner | None = None
        self._seen: set[Any] = set()

    @property
    def ca_bundle(self) -> str:
        return base64.b64encode(self.authority.cert_pem).decode()

    def on(self, path: str, respond: Respond) -> Object:
        """Answers ``path`` from now on; returns the clientConfig that leads there."""
        self._paths[path] = respond
        return {"url": f"https://localhost:{self.port}{path}", "caBundle": self.ca_bundle}

    def reviews(self, path: str) -> list[Any]:
        """The requests of the reviews that a path was sent."""
        return [review["request"] for where, review in self.asked if where.partition("?")[0] == path]

    async def start(self, directory: Path, pair: KeyPair | None = None) -> None:
        """Shows ``pair``, else a certificate of its authority for its names."""
        pair = pair or self.authority.issue("webhook", (), self._names, ("127.0.0.1",), usages=(SERVER,))
        (directory / "webhook.pem").write_bytes(pair.cert_pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "webhook.pem")
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._seen.add(request.transport)
        self.connections = len(self._seen)
        body = await request.read()
        review = json.loads(body) if body else None
        self.asked.append((request.path_qs, review))
        self.credentials.append(request.headers.get("authorization", ""))
        response = self._paths[request.path](review)
        if inspect.isawaitable(response):
            response = await response
        if isinstance(response, web.StreamResponse):
            return response
        answer = {
            "apiVersion": review["apiVersion"], "kind": review["kind"],
            "response": {"uid": review["request"]["uid"], **response},
        }  # fmt: skip
        return web.json_response(answer)


def allow(**more: Any) -> Respond:
    return lambda _review: {"allowed": True, **more}


def deny(**status: Any) -> Respond:
    return lambda _review: {"allowed": False, **({"status": status} if status else {})}


def patching(*operations: Object) -> Respond:
    """Allows and applies a JSON patch."""
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return allow(patchType="JSONPatch", patch=encoded)


async def slowly(_review: Any) -> Any:
    await asyncio.sleep(30)
    return {"allowed": True}


@pytest.fixture
async def webhooks(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    """A started webhook server."""
    server = WebhookServer(Authority.create("webhooks"), ("localhost", "hooks.default.svc"))
    await server.start(tmp_path)
    yield server
    await server.stop()


__all__ = ["WebhookServer", "allow", "deny", "patching", "slowly", "webhooks"]
