"""Joining a cluster with a bootstrap token: whom to trust, a client certificate of the node's own, its renewal.

The certificate is asked for by a CertificateSigningRequest as a kubelet does it; controllers approve and sign it.
Source: kubernetes.io, "TLS bootstrapping", "kubeadm join".
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    BadRequest,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    StatusError,
    Timeout,
    Unauthorized,
)
from sublet.node.agent import run_agent
from sublet.node.settings import NodeSettings

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

log = logging.getLogger(__name__)

SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_RENEW_AT = 0.8
"""Share of a certificate's life after which a new one is asked for."""
_RENEW_CHECK = 3600.0


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What a node is told to join with. One of ``ca_data`` and ``ca_hashes`` says whom to trust."""

    server: str
    """``https://host:port``"""
    token: str
    """Bootstrap token, ``abcdef.0123456789abcdef``; not needed again once the node has its certificate."""
    node_name: str
    data_dir: Path
    ca_data: bytes = b""
    ca_hashes: tuple[str, ...] = ()
    """``sha256:…`` of the authority's public key, as ``kubeadm token create --print-join-command`` prints it."""
    timeout: float = 120.0
    """Seconds to wait for the certificate."""

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "kubelet.conf"


async def credentials(settings: JoinSettings, clock: Clock) -> ClusterAccess:
    """The node's access: the one it has, renewed if it is old, else one got with the token.

    Raises ``StatusError`` saying what to do: a wrong token, an authority that does not match, no approval.
    """
    if settings.kubeconfig.exists():
        access = kubeconfig.load(settings.kubeconfig)
        left = share_left(access.client_cert, clock)
        if left > 1 - _RENEW_AT:
            return access
        if left > 0:
            return await _renewed(settings, access)
        log.warning("the certificate in %s has expired; joining again with the token", settings.kubeconfig)
    if not _TOKEN.fullmatch(settings.token):
        raise BadRequest("the bootstrap token must look like abcdef.0123456789abcdef")
    access = (
        ClusterAccess(settings.server, ca_data=settings.ca_data)
        if settings.ca_data
        else await discover(settings)
    )
    try:
        return await _request(settings, structs.replace(access, token=settings.token))
    except Unauthorized:
        raise Unauthorized(
            "the control plane does not know the bootstrap token, or it has expired; make a new one there"
        ) from None


async def discover(settings: JoinSettings) -> ClusterAccess:
    """The cluster's authority from its public ``cluster-info``, believed only if its key's hash is expected, and by
    which name to ask the server for what it certified."""
    if not settings.ca_hashes:
        raise BadRequest("joining needs to know whom to trust: give the authority's certificate or its hash")
    transport = HTTPTransport(ClusterAccess(settings.server, insecure=True))
    client = Client(transport, "kubelet")
    try:
        info = await client.get(resource("configmaps"), "cluster-info", "kube-public")
    except (NotFound, Forbidden, Unauthorized) as error:
        raise NotFound(
            f"the control plane publishes no cluster-info ({error.message}); "
            "join with the authority's certificate instead of its hash"
        ) from None
    finally:
        await client.close()
    access = kubeconfig.load_text((info.get("data") or {}).get("kubeconfig") or "", "cluster-info")
    found = public_key_hash(access.ca_data)
    if found not in {value.lower() for value in settings.ca_hashes}:
        raise Forbidden(
            f"the authority at {settings.server} has the key hash {found}, which is none of the expected: "
            "this is another cluster, or someone stands between"
        )
    return ClusterAccess(settings.server, ca_data=access.ca_data, tls_server_name=access.tls_server_name)


def public_key_hash(ca_data: bytes) -> str:
    """``sha256:<hex>`` of the DER SubjectPublicKeyInfo, as kubeadm pins it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(ca_data).public_key()
    return (
        "sha256:"
        + hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    )


def share_left(certificate: bytes, clock: Clock) -> float:
    """Which share of its life a certificate has left; 0 or less once it has expired, or if it is none."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        return 0.0
    begin, end = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    return (end - clock.now()) / max(end - begin, 1.0)


async def _renewed(settings: JoinSettings, access: ClusterAccess) -> ClusterAccess:
    try:
        return await _request(settings, access)
    except StatusError as error:
        log.warning("the node's certificate could not be renewed yet: %s", error.message)
        return access


async def _request(settings: JoinSettings, access: ClusterAccess) -> ClusterAccess:
    """Asks for a certificate with the given access; writes and gives the node's own access."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    client = Client(HTTPTransport(access), "kubelet")
    try:
        async with asyncio.timeout(settings.timeout):
            certificate = await _signed(client, settings.node_name, key)
    except TimeoutError:
        raise Timeout(
            f"no certificate for node {settings.node_name} within {settings.timeout:.0f} s: is the signing request "
            "approved (kubectl get csr), and do the controllers run?"
        ) from None
    finally:
        await client.close()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own = structs.replace(access, token="", client_cert=certificate, client_key=pem)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    kubeconfig.write(settings.kubeconfig, own, "node")
    return own


async def _signed(client: Client, node: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    import base64

    from cryptography.hazmat.primitives.serialization import Encoding

    pem = signing_request(node, key).public_bytes(Encoding.PEM)
    kind = resource("certificatesigningrequests.certificates.k8s.io")
    request = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"generateName": "node-csr-"},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": SIGNER,
            "usages": ["digital signature", "client auth"],
        },
    }
    name = objects.name(await _patiently(lambda: client.create(kind, request)))
    while True:
        found: Object = await _patiently(lambda: client.get(kind, name))
        status = found.get("status") or {}
        for condition in status.get("conditions") or []:
            if condition["type"] in ("Denied", "Failed"):
                why = condition.get("message") or condition.get("reason") or "no reason given"
                raise Forbidden(f"the certificate for node {node} was refused: {why}")
        if certificate := status.get("certificate"):
            return base64.b64decode(certificate)
        await asyncio.sleep(0.2)


async def _patiently(work: Callable[[], object]) -> Object:
    """Waits out a control plane that starts or restarts."""
    while True:
        try:
            return await work()  # type: ignore[misc, no-any-return]
        except ServiceUnavailable as error:
            log.info("%s", error.message)
            await asyncio.sleep(0.5)


def signing_request(node: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """For ``system:node:<name>`` in ``system:nodes``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())


async def run_joined(
    join: JoinSettings,
    settings: NodeSettings,
    *,
    clock: Clock | None = None,
    on_pod_range: Callable[[str], None] | None = None,
    on_started: Callable[[], None] | None = None,
) -> None:
    """Joins and runs the agent until cancelled; begins again with a new certificate in time (pods run on)."""
    clock = clock or SystemClock()
    while True:
        access = await credentials(join, clock)
        running = run_agent(
            replace(settings, access=access), on_pod_range=on_pod_range, on_started=on_started
        )
        agent = asyncio.ensure_future(running)
        renew = asyncio.ensure_future(_until_old(access, clock))
        try:
            await asyncio.wait((agent, renew), return_when=asyncio.FIRST_COMPLETED)
            if agent.done():
                agent.result()
                return
        finally:
            renew.cancel()
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)


async def _until_old(access: ClusterAccess, clock: Clock) -> None:
    while True:
        await asyncio.sleep(_RENEW_CHECK)
        if share_left(access.client_cert, clock) <= 1 - _RENEW_AT:
            return


def node_name() -> str:
    """This machine's host name as a node's name."""
    return os.uname().nodename.lower()
