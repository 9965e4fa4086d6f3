"""What a failed probe says."""

from __future__ import annotations

import socket

from sublet.node.probes import http_get, tcp_connect


def closed_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_is_named_once() -> None:
    port = closed_port()
    found = await tcp_connect({"name": "c"}, {"port": port}, "127.0.0.1", 2)
    assert found == (False, f"dial tcp 127.0.0.1:{port}: connect: connection refused")


async def test_a_refused_request_says_why() -> None:
    port = closed_port()
    ok, message = await http_get({"name": "c"}, {"port": port, "path": "/z"}, "127.0.0.1", 2)
    assert not ok
    assert message == (
        f'Get "http://127.0.0.1:{port}/z": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )
