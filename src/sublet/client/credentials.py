"""TLS settings and Authorization headers of a :class:`ClusterAccess`, for everything that dials an API server."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from sublet.client.kubeconfig import ClusterAccess, ExecPlugin, KubeconfigError
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.status import Unauthorized

_TOKEN_FILE_SECONDS = 10.0
_EXEC_SECONDS = 60.0


def ssl_context(access: ClusterAccess) -> ssl.SSLContext | None:
    """A client context with the access's CA and client certificate; None for ``http://``.

    Raises :class:`KubeconfigError` when a certificate or key cannot be used.
    """
    if not access.server.startswith("https:"):
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    # Authorities made by kubeadm and others lack the authority key identifier that OpenSSL's strict mode wants.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    try:
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif access.ca_data:
            context = _only_authority(context, access.ca_data)
        if access.client_cert:
            load_chain(context, access.client_cert + b"\n" + access.client_key)
    except ssl.SSLError as error:
        raise KubeconfigError(f"certificates for {access.server} cannot be used: {error}") from error
    return context


def _only_authority(context: ssl.SSLContext, ca_data: bytes) -> ssl.SSLContext:
    """A named authority replaces the system's, so the trust store starts empty."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.set_alpn_protocols(["http/1.1"])
    own.minimum_version = context.minimum_version
    own.load_verify_locations(cadata=ca_data.decode())
    return own


def load_chain(context: ssl.SSLContext, chain: bytes) -> None:
    """Shows a client certificate (PEM with its key). OpenSSL reads from files only: one that only we can read, gone
    when read. Raises ``ssl.SSLError``."""
    handle, name = tempfile.mkstemp(prefix="sublet-client-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(chain)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink(missing_ok=True)


class Credentials:
    """The Authorization header of an access: static, from a file that rotates, or from an exec plugin."""

    def __init__(self, access: ClusterAccess, clock: Clock | None = None) -> None:
        self.access = access
        self._clock = clock or SystemClock()
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def resolve(self) -> ClusterAccess:
        """The access with what an exec plugin adds to it (a token or a client certificate)."""
        if self.access.exec_plugin is None:
            return self.access
        async with self._lock:
            if self._clock.now() >= self._until:
                await self._run_plugin(self.access.exec_plugin)
        return self.access

    async def headers(self) -> dict[str, str]:
        """The headers that say who asks; empty where the client certificate does."""
        access = await self.resolve()
        headers = {"authorization": f"Bearer {token}"} if (token := self._bearer(access)) else {}
        if access.impersonate:
            headers["impersonate-user"] = access.impersonate
        return headers

    def invalidate(self) -> bool:
        """The server refused the credentials; returns whether the next ones can be different."""
        self._until = 0.0
        return bool(self.access.exec_plugin or self.access.token_file)

    def _bearer(self, access: ClusterAccess) -> str:
        if not access.token_file:
            return access.token
        if self._clock.now() >= self._until:
            try:
                self._token = Path(access.token_file).read_text(encoding="utf-8").strip()
            except OSError as error:
                # A rotation may just be replacing the file: the last token is better than none.
                if not self._token:
                    raise KubeconfigError(f"token file {access.token_file}: {error.strerror}") from error
            self._until = self._clock.now() + _TOKEN_FILE_SECONDS
        return self._token

    async def _run_plugin(self, plugin: ExecPlugin) -> None:
        status = (await _credential(plugin, self.access)).get("status") or {}
        if not status.get("token") and not status.get("clientCertificateData"):
            raise Unauthorized(f"exec plugin {plugin.command} gave neither a token nor a client certificate")
        self.access = replace(
            self.access,
            token=status.get("token") or "",
            client_cert=(status.get("clientCertificateData") or "").encode() or self.access.client_cert,
            client_key=(status.get("clientKeyData") or "").encode() or self.access.client_key,
        )
        expires = status.get("expirationTimestamp")
        self._until = objects.parse_time(expires) - 10 if expires else float("inf")


async def _credential(plugin: ExecPlugin, access: ClusterAccess) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        spec["cluster"] = {"server": access.server, "insecure-skip-tls-verify": access.insecure}
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command, *plugin.args, env=environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        hint = f" ({plugin.install_hint})" if plugin.install_hint else ""
        raise Unauthorized(f"exec plugin {plugin.command} cannot run: {error.strerror}{hint}") from error
    try:
        async with asyncio.timeout(_EXEC_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise Unauthorized(f"exec plugin {plugin.command} gave no answer in {_EXEC_SECONDS:.0f} s") from error
    if process.returncode:
        raise Unauthorized(f"exec plugin {plugin.command} failed with exit code {process.returncode}")
    try:
        decoded = json.loads(output)
    except ValueError as error:
        raise Unauthorized(f"exec plugin {plugin.command} did not answer with JSON") from error
    if not isinstance(decoded, dict) or decoded.get("kind") != "ExecCredential":
        raise Unauthorized(f"exec plugin {plugin.command} did not answer with an ExecCredential")
    return decoded
