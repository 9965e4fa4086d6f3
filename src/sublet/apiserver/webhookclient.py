"""Calls of webhooks: HTTPS to a URL or to a Service, with texts as upstream's clients give them (reference B.17).

aiohttp is loaded with the first call. Connections are kept and used again. Redirects are followed as Go follows them,
but never out of TLS: who may name a webhook must not reach what listens in the clear beside the control plane.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from sublet.apiserver import webhooktrust
from sublet.apiserver.webhookusers import NOBODY, WebhookUser
from sublet.client.credentials import load_chain
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.codec import DecodeError, decode_json
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339

if TYPE_CHECKING:
    import aiohttp

Resolve = Callable[[str, str, int], Awaitable[tuple[str, int]]]
"""(namespace, Service, its port) -> (address, port) to dial. Raises :class:`CallFailed`."""

MAX_ANSWER = 32 << 20
"""Bytes of an answer that are read at most."""
_CONTEXTS = 64
_KEEPALIVE_SECONDS = 90.0
_AGAIN = 2
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MOST_REDIRECTS = 10
_OUT_OF_TIME = (9, 10)
"""What OpenSSL answers for a certificate that is not valid yet, or no more."""
_HEADERS = {
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver-admission",
}
_MEANINGS: Mapping[int, str] = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    410: "the server reported that the resource is gone",
    415: "the server was unable to handle the content type of the request",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}  # fmt: skip
"""What client-go says where a server does not."""
_mismatch = re.compile(r"certificate is not valid for '([^']*)'").search


class CallFailed(Exception):
    """A webhook could not be called, or its answer is no answer; ``str()`` is upstream's text."""

    def __init__(self, text: str, code: int = 503) -> None:
        super().__init__(text)
        self.code = code
        """Under which metrics count it: that of the answer, where there was one."""


class ClientConfig(Struct, frozen=True):
    """Where a webhook listens: ``url``, or ``namespace`` and ``name`` of a Service with ``path`` and ``port``."""

    url: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    port: int = 443
    ca: bytes = b""
    """PEM; empty: the system's authorities."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ClientConfig:
        """From a ``clientConfig`` of a webhook configuration, a CRD conversion or the like."""
        try:
            ca = base64.b64decode(config.get("caBundle") or "")
        except (binascii.Error, ValueError):
            ca = b"not base64"
        service = config.get("service")
        if not service:
            return cls(str(config.get("url") or ""), ca=ca)
        return cls(
            "",
            str(service.get("namespace") or ""),
            str(service.get("name") or ""),
            str(service.get("path") or ""),
            int(service.get("port") or 443),
            ca,
        )

    @property
    def address(self) -> str:
        """The URL without query; for a Service under the name its certificate must have."""
        if self.url:
            return self.url
        return f"https://{self.name}.{self.namespace}.svc:{self.port}/{self.path.lstrip('/')}"

    @property
    def endpoint(self) -> tuple[str, int]:
        """Name and port."""
        target = urlsplit(self.address)
        return str(target.hostname or ""), target.port or 443


class WebhookClient:
    """Posts JSON documents to webhooks; used by one event loop, closed with :meth:`close`."""

    def __init__(self, resolve: Resolve, clock: Clock | None = None) -> None:
        self._resolve = resolve
        self._clock = clock or SystemClock()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._contexts: dict[tuple[bytes, bytes], ssl.SSLContext] = {}
        self._vouched: dict[tuple[bytes, tuple[str, int]], tuple[bytes, float]] = {}
        """What :mod:`webhooktrust` found: (authorities, endpoint) -> certificate, until when."""

    async def post(
        self, config: ClientConfig, document: bytes, seconds: float, *, told: bool = True,
        user: WebhookUser = NOBODY,
    ) -> Object:  # fmt: skip
        """The JSON object that the webhook answered.

        ``told``: the webhook learns of the time it has (``?timeout=10s``). ``user``: as whom it is asked. Raises
        :class:`CallFailed`.
        """
        address = config.address + (f"?timeout={seconds:g}s" if told else "")
        try:
            async with asyncio.timeout(seconds):
                status, body = await self._answer(config, address, document, user)
        except TimeoutError:
            raise CallFailed(f'Post "{address}": context deadline exceeded') from None
        if not 200 <= status <= 206:
            raise CallFailed(_meaning(status, body), status)
        try:
            answer = decode_json(body)
        except DecodeError as error:
            raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(answer, dict):
            raise CallFailed("couldn't get version/kind; json parse error: the answer is no JSON object")
        return answer

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    async def _answer(
        self, config: ClientConfig, address: str, document: bytes, user: WebhookUser
    ) -> tuple[int, bytes]:
        """Status and body, after any redirects: 307 and 308 are posted on, others become a GET."""
        url, body = address, document
        for _ in range(_MOST_REDIRECTS + 1):
            status, location, answer = await self._once(config, address, url, body, user)
            if status not in _REDIRECTS or not location:
                return status, answer
            url = urljoin(url, location)
            if urlsplit(url).scheme != "https":
                raise CallFailed(f'Post "{url}": a redirect of a webhook must lead to https')
            if status not in (307, 308):
                body = b""
        raise CallFailed(f'Post "{url}": stopped after {_MOST_REDIRECTS} redirects')

    async def _once(
        self, config: ClientConfig, address: str, url: str, document: bytes, user: WebhookUser
    ) -> tuple[int, str, bytes]:
        """Status, Location and body of one request; without a document it is a GET."""
        import aiohttp

        at_home = urlsplit(url).netloc == urlsplit(address).netloc
        context = self._context(self._trusted(config) if at_home else config.ca, user)
        session = self._session(service=at_home and not config.url)
        headers = {**_HEADERS, **(user.headers if at_home else {})}
        name = None if config.url or at_home else urlsplit(address).hostname
        for attempt in range(_AGAIN):
            use = _Use()
            try:
                async with session.request(
                    "POST" if document else "GET", url, data=document or None, headers=headers, ssl=context,
                    allow_redirects=False, timeout=aiohttp.ClientTimeout(total=None), trace_request_ctx=use,
                    server_hostname=name,
                ) as response:  # fmt: skip
                    return response.status, response.headers.get("Location", ""), await _read(response, url)
            except (aiohttp.ClientError, OSError) as error:
                if use.again and attempt + 1 < _AGAIN and _is_stale(error):
                    continue  # the peer had closed a kept connection; nothing of the request was read
                if attempt + 1 < _AGAIN and at_home and await self._vouch(config, error):
                    context = self._context(self._trusted(config), user)
                    continue
                why = await self._of_certificate(config, error) or reason(error, config)
                raise CallFailed(f'Post "{url}": {why}') from None
        raise CallFailed(f'Post "{url}": EOF')

    async def _of_certificate(self, config: ClientConfig, error: BaseException) -> str:
        """Of a certificate for somebody else for whom it is, of an old one until when it was. Empty where neither is
        what is wrong."""
        cause = getattr(error, "certificate_error", None)
        if not isinstance(cause, ssl.SSLCertVerificationError):
            return ""
        wanted = _mismatch(cause.verify_message)
        if wanted is None and cause.verify_code not in _OUT_OF_TIME:
            return ""
        try:
            shown = await self._shown(config)
            why = hostname_reason(shown, wanted[1]) if wanted else time_reason(shown, self._clock.now())
        except (CallFailed, OSError, ValueError):
            return ""
        return f"tls: failed to verify certificate: x509: {why}"

    async def _shown(self, config: ClientConfig) -> bytes:
        """The certificate (DER) that a webhook shows. Raises :class:`CallFailed`, ``OSError``."""
        name, port = config.endpoint
        host = name
        if not config.url:
            host, port = await self._resolve(config.namespace, config.name, config.port)
        return await _certificate_of(host, port, name)

    async def _vouch(self, config: ClientConfig, error: BaseException) -> bool:
        """Whether a certificate was refused that Go would have believed; from now on it is trusted."""
        cause = getattr(error, "certificate_error", None)
        if not isinstance(cause, ssl.SSLCertVerificationError) or cause.verify_code != webhooktrust.REFUSED:
            return False
        try:
            found = webhooktrust.vouched(await self._shown(config), config.ca, self._clock.now())
        except (CallFailed, OSError, ValueError):
            return False
        if found is None:
            return False
        while len(self._vouched) >= _CONTEXTS:
            del self._vouched[next(iter(self._vouched))]
        self._vouched[config.ca, config.endpoint] = found
        return True

    def _trusted(self, config: ClientConfig) -> bytes:
        """The authorities of a webhook, and its certificate where one of them vouched for it."""
        found, until = self._vouched.get((config.ca, config.endpoint), (b"", 0.0))
        return config.ca + b"\n" + found if self._clock.now() <= until else config.ca

    def _session(self, *, service: bool) -> aiohttp.ClientSession:
        import aiohttp

        session = self._sessions.get(service)
        if session is None:
            resolver: Any = _ServiceResolver(self._resolve) if service else aiohttp.ThreadedResolver()
            connector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, use_dns_cache=False, resolver=resolver
            )
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_reused)
            session = aiohttp.ClientSession(connector=connector, trust_env=False, trace_configs=[trace])
            self._sessions[service] = session
        return session

    def _context(self, ca: bytes, user: WebhookUser) -> ssl.SSLContext:
        key = (ca, user.certificate)
        known = self._contexts.pop(key, None)
        if known is None:
            known = tls_context(ca)
            if user.certificate:
                load_chain(known, user.certificate)
            while len(self._contexts) >= _CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
        self._contexts[key] = known
        return known


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = await response.content.read(MAX_ANSWER + 1)
    while not response.content.at_eof() and len(body) <= MAX_ANSWER:
        body += await response.content.read(MAX_ANSWER + 1 - len(body))
    if len(body) > MAX_ANSWER:
        raise CallFailed(f'Post "{url}": the answer is larger than {MAX_ANSWER} bytes')
    return body


async def _certificate_of(host: str, port: int, name: str) -> bytes:
    """The certificate (DER) that a server shows, believed or not. Raises ``OSError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    try:
        return bytes(writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b"")
    finally:
        writer.close()


def time_reason(certificate: bytes, now: float) -> str:
    """What Go says of a certificate (DER) before or after its time. Raises ``ValueError``."""
    from cryptography import x509

    parsed = x509.load_der_x509_certificate(certificate)
    first, last = (at.timestamp() for at in (parsed.not_valid_before_utc, parsed.not_valid_after_utc))
    word, bound = ("before", first) if now < first else ("after", last)
    return (
        f"certificate has expired or is not yet valid: current time {rfc3339(now)} is {word} {rfc3339(bound)}"
    )


def hostname_reason(certificate: bytes, wanted: str) -> str:
    """What Go says of a certificate (DER) that is not for a host. Raises ``ValueError``."""
    from cryptography import x509

    parsed = x509.load_der_x509_certificate(certificate)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        if [each.value for each in common] == [wanted]:
            return "certificate relies on legacy Common Name field, use SANs instead"
        return f"certificate is not valid for any names, but wanted to match {wanted}"
    if wanted.replace(".", "").isdigit() or ":" in wanted:
        addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
        if not addresses:
            return f"cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
        return f"certificate is valid for {', '.join(addresses)}, not {wanted}"
    listed = ", ".join(names.get_values_for_type(x509.DNSName))
    if not listed:
        return f"certificate is not valid for any names, but wanted to match {wanted}"
    return f"certificate is valid for {listed}, not {wanted}"


def tls_context(ca: bytes) -> ssl.SSLContext:
    """A client context that believes what ``ca`` (PEM) signed, or the system's authorities where it is empty.

    Raises :class:`CallFailed`.
    """
    if not ca:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=ca.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise CallFailed(
                "could not get REST client: unable to load root certificates: unable to parse bytes as PEM block",
                500,
            ) from None
    # As Go: a certificate that is trusted itself needs no authority above it, and only its alternative names count.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Use(Struct):
    again: bool = False
    """Whether a kept connection carried the request."""


async def _reused(_session: Any, trace: Any, _parameters: Any) -> None:
    trace.trace_request_ctx.again = True


class _ServiceResolver:
    """aiohttp's resolver for the names of Services."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> list[dict[str, Any]]:
        name, _, rest = host.partition(".")
        try:
            address, target = await self._resolve(rest.removesuffix(".svc"), name, port)
        except CallFailed as error:
            raise _UnresolvedError(str(error)) from None
        found = await asyncio.get_running_loop().getaddrinfo(address, target, type=socket.SOCK_STREAM)
        return [
            {
                "hostname": host, "host": where[0], "port": where[1], "family": kind, "proto": protocol,
                "flags": socket.AI_NUMERICHOST,
            }
            for kind, _, protocol, _, where in found
        ]  # fmt: skip

    async def close(self) -> None:
        return None


class _UnresolvedError(OSError):
    pass


def _is_stale(error: BaseException) -> bool:
    import aiohttp

    return isinstance(
        error, (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError)
    ) and not (isinstance(error, aiohttp.ClientConnectorError))


def reason(error: BaseException, config: ClientConfig | None = None) -> str:
    """What stopped a connection, in Go's words."""
    import aiohttp

    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, _UnresolvedError):
        return str(cause)
    if isinstance(cause, ssl.SSLError):
        return tls_reason(cause)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(cause, socket.gaierror):
        host = getattr(error, "host", "") or (config.address if config else "")
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {_endpoint(error, cause)}: connect: {_words(cause)}"
    if isinstance(cause, ConnectionResetError):
        return "read: connection reset by peer"
    return str(error) or type(error).__name__


def tls_reason(error: ssl.SSLError) -> str:
    """What is wrong with a TLS connection, in Go's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {_certificate(error)}"
    return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"


def socket_reason(error: BaseException, address: str) -> str:
    """What stopped a connection to ``host:port`` that asyncio made, in Go's words."""
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    if isinstance(error, TimeoutError):
        return f"dial tcp {address}: i/o timeout"
    if isinstance(error, ConnectionResetError):
        return "read: connection reset by peer"
    if isinstance(error, OSError):
        return f"dial tcp {address}: connect: {_words(error)}"
    return "EOF" if isinstance(error, EOFError) else str(error)


def _endpoint(error: Any, cause: BaseException) -> str:
    """The address dialled, which asyncio tells in its message alone; else the host's name."""
    found = re.search(r"\('([^']+)', (\d+)", str(cause))
    host, port = (found[1], found[2]) if found else (str(error.host), str(error.port))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(cause: BaseException) -> str:
    import errno
    import os

    number = getattr(cause, "errno", None)
    if number == errno.ECONNREFUSED or isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else str(cause)


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    if found := _mismatch(error.verify_message):
        return f"certificate is not valid for {found[1]}"
    if error.verify_code in _OUT_OF_TIME:
        return "certificate has expired or is not yet valid"
    match error.verify_code:
        case 18 | 19 | 20 | 21:
            return "certificate signed by unknown authority"
    return error.verify_message or str(error)


def _meaning(status: int, body: bytes) -> str:
    """What a failing answer says: its Status, or what client-go makes of the code."""
    try:
        document = decode_json(body)
    except DecodeError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status" and document.get("message"):
        return str(document["message"])
    text = body[:2048].decode("utf-8", "replace").strip() or "unknown"
    if status == 403:
        return text
    if found := _MEANINGS.get(status):
        return found
    if status >= 500:
        quoted = json.dumps(text, ensure_ascii=False)
        return f"an error on the server ({quoted}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"
