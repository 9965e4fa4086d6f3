"""Forwarding local connections to a pod's port through the API server, over WebSocket.

Speaks the channel protocol ``v4.channel.k8s.io`` with one pod connection per local one: channel 0 carries data,
channel 1 errors, and each begins with the port as two bytes, little endian
(Kubernetes source: kubelet's portforward/websocket.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from sublet.client.credentials import Credentials, ssl_context
from sublet.client.kubeconfig import ClusterAccess
from sublet.machinery.status import ServiceUnavailable

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_CHUNK = 64 * 1024

PodAddress = Callable[[], Awaitable[tuple[str, str]]]


class PortForwarder:
    """Listens on a local port. ``find_pod`` gives (namespace, name) anew for each connection, so that a
    restarted pod is followed."""

    def __init__(self, access: ClusterAccess, find_pod: PodAddress, port: int) -> None:
        self._access = access
        self._find_pod = find_pod
        self._port = port
        self._credentials = Credentials(access)
        self._server: asyncio.Server | None = None
        self._session: aiohttp.ClientSession | None = None
        self.local_port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Raises ``OSError`` when the local port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.local_port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._session is not None:
            await self._session.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._carry(reader, writer)
        except (OSError, ServiceUnavailable, TimeoutError) as error:
            logger.warning("forwarding failed: %s", error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        namespace, pod = await self._find_pod()
        socket = await self._open(namespace, pod)
        sending = asyncio.ensure_future(self._send(reader, socket))
        receiving = asyncio.ensure_future(self._receive(socket, writer))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
            await socket.close()

    async def _open(self, namespace: str, pod: str) -> aiohttp.ClientWebSocketResponse:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession()
        access = await self._credentials.resolve()
        base = urlsplit(access.server)
        path = f"{base.path.rstrip('/')}/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        url = urlunsplit((base.scheme, base.netloc, path, f"ports={self._port}", ""))
        try:
            return await self._session.ws_connect(
                url,
                protocols=(_PROTOCOL,),
                headers=await self._credentials.headers(),
                ssl=ssl_context(access) or False,
                max_msg_size=0,
            )
        except aiohttp.ClientError as error:
            raise ServiceUnavailable(
                f"{access.server} refused to forward to pod {namespace}/{pod}: {error}"
            ) from None

    async def _send(self, reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
        while data := await reader.read(_CHUNK):
            await socket.send_bytes(bytes([_DATA]) + data)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        greeted: set[int] = set()
        async for message in socket:
            if not isinstance(message.data, bytes) or not message.data:
                continue
            channel, content = message.data[0], message.data[1:]
            if channel not in greeted:
                greeted.add(channel)
                content = content[struct.calcsize("<H") :]
            if channel == _ERROR and content:
                raise ServiceUnavailable(content.decode(errors="replace"))
            if channel == _DATA and content:
                writer.write(content)
                await writer.drain()
