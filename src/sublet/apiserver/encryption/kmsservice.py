"""A client of a key management service: gRPC on a unix socket, as k8s.io/kms/apis/v2 has it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from sublet.apiserver.encryption.kmsmessages import Source, Status, decrypted, encrypt_request
from sublet.machinery.codec import DecodeError

if TYPE_CHECKING:
    import grpc.aio

T = TypeVar("T")
_METHODS = "/v2.KeyManagementService/"


class CallFailed(Exception):
    """The service refused, was not there, or said what cannot be understood."""


class KMSService:
    """One connection; ``timeout``: seconds that a call may take. Every call raises :class:`CallFailed`."""

    def __init__(self, endpoint: str, timeout: float) -> None:
        self._target = target(endpoint)
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None
        self._observe: Callable[[str, str, float], None] = _nobody

    def observe(self, observe: Callable[[str, str, float], None]) -> None:
        """Has each call told to: (method, gRPC's code, seconds)."""
        self._observe = observe

    async def status(self) -> Status:
        return _understood(Status.decode, await self._call("Status", b""))

    async def encrypt(self, plain: bytes) -> Source:
        answer = await self._call("Encrypt", encrypt_request(plain, str(uuid.uuid4())))
        return _understood(Source.decode_response, answer)

    async def decrypt(self, source: Source) -> bytes:
        answer = await self._call("Decrypt", source.decrypt_request(str(uuid.uuid4())))
        return _understood(decrypted, answer)

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def _call(self, method: str, request: bytes) -> bytes:
        import grpc

        call: Any = self._connection().unary_unary(
            _METHODS + method, request_serializer=None, response_deserializer=None
        )
        begun, code = time.monotonic(), "OK"
        try:
            answer: bytes = await call(request, timeout=self._timeout)
        except asyncio.CancelledError:
            if self._channel is not None:
                raise
            raise CallFailed("the configuration has another service now") from None
        except grpc.RpcError as error:
            code = "".join(part.capitalize() for part in error.code().name.split("_"))
            raise CallFailed(f"rpc error: code = {code} desc = {error.details()}") from None
        finally:
            self._observe(_METHODS + method, code, time.monotonic() - begun)
        return answer

    def _connection(self) -> grpc.aio.Channel:
        if self._channel is None:
            import grpc.aio

            options = [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.enable_http_proxy", 0),
                ("grpc.default_authority", "localhost"),  # the socket's path is no host name
            ]
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
        return self._channel


def _nobody(_method: str, _code: str, _seconds: float) -> None:
    """Nobody is told."""


def target(endpoint: str) -> str:
    """``unix:///run/kms.sock`` as gRPC names it; ``unix:///@kms`` is a socket without a file."""
    path = urlsplit(endpoint).path
    return f"unix-abstract:{path[2:]}" if path.startswith("/@") else f"unix:{path}"


def _understood(decode: Callable[[bytes], T], answer: bytes) -> T:
    try:
        return decode(answer)
    except DecodeError as error:
        raise CallFailed(str(error)) from None
