"""A connection that watches has given back what its handshake left, and is still whose it was."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from typing import Any

import pytest
from apiserver_front import front
from test_apiserver_tls import Served, intermediate, served

from sublet.pki.authority import KeyPair

__all__ = ["front", "served"]

WATCH = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1"


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """The status and body of one GET on a connection that stays open."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = int(head.split()[1])
    if "content-length: " in head:
        return status, await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return status, body


def held(served: Served) -> tuple[Any, int]:
    """The name that OpenSSL still holds for the one client there is, and how many certificates of its."""
    (connection,) = served.server.connections
    secured: Any = connection._transport.get_extra_info("ssl_object")
    return secured.getpeercert()["subject"], len(secured._sslobj.get_unverified_chain())


async def test_after_a_watch_the_same_connection_is_still_whose_it_was(served: Served) -> None:
    reader, writer = await served.open(served.front.ca.issue("admin", ("system:masters",)))
    assert (await ask(reader, writer, WATCH))[0] == 200
    for _ in range(2):
        assert (await ask(reader, writer, "/api/v1/namespaces/default/configmaps"))[0] == 200
        assert (await ask(reader, writer, WATCH))[0] == 200
    status, body = await ask(reader, writer, "/api/v1/namespaces/default")
    assert (status, json.loads(body)["metadata"]["name"]) == (200, "default")
    writer.close()


async def test_a_connection_holds_neither_its_certificate_nor_the_chain(served: Served) -> None:
    between = intermediate(served.front.ca)
    leaf = between.issue("admin", ("system:masters",))
    reader, writer = await served.open(KeyPair(leaf.cert_pem + between.cert_pem, leaf.key_pem))
    assert (await ask(reader, writer, "/api/v1/namespaces/default"))[0] == 200
    assert held(served) == ((), 1)
    assert (await ask(reader, writer, WATCH))[0] == 200
    assert held(served) == ((), 1)
    assert (await ask(reader, writer, "/api/v1/namespaces/default"))[0] == 200
    writer.close()


async def test_events_larger_than_the_buffers_that_were_given_back_arrive_whole(served: Served) -> None:
    pair = served.front.ca.issue("admin", ("system:masters",))
    reader, writer = await served.open(pair)
    writer.write(f"GET {WATCH}0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    text = "x" * 300_000
    body = json.dumps({"metadata": {"name": "large"}, "data": {"text": text}}).encode()
    maker, sender = await served.open(pair)
    path = "/api/v1/namespaces/default/configmaps"
    sender.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    assert (await maker.read()).startswith(b"HTTP/1.1 201")
    seen = b""
    while text.encode() not in seen.replace(b"\r\n", b""):
        seen += await asyncio.wait_for(reader.readexactly(int(await reader.readline(), 16) + 2), 5)
    assert b'"large"' in seen
    writer.close()
    sender.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("tickets", [True, False])
async def test_a_session_that_is_resumed_after_a_watch_is_still_whose_it_was(
    served: Served, version: ssl.TLSVersion, tickets: bool
) -> None:
    context = served.context(served.front.ca.issue("admin", ("system:masters",)))
    context.minimum_version = context.maximum_version = version
    if not tickets:
        context.options |= ssl.OP_NO_TICKET

    def talk(session: ssl.SSLSession | None, path: str) -> tuple[bytes, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", served.server.port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secured,
        ):
            secured.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := secured.recv(65536):
                answer += data
            return answer, secured.session

    answer, session = await asyncio.to_thread(talk, None, WATCH)
    assert answer.startswith(b"HTTP/1.1 200")
    answer, _ = await asyncio.to_thread(talk, session, "/api/v1/namespaces/default")
    assert answer.startswith(b"HTTP/1.1 200")
