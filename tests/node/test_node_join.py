"""Joining with a bootstrap token, against a real API server whose signing the test does itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sublet.apiserver.servingcerts import LOOPBACK, Pair, ServingFiles
from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import BadRequest, Forbidden, NotFound, StatusError, Timeout, Unauthorized
from sublet.node.join import JoinSettings, credentials, public_key_hash, share_left
from sublet.pki.authority import SERVER, Authority

TOKEN = "abcdef.0123456789abcdef"
REQUESTS = resource("certificatesigningrequests.certificates.k8s.io")
ROLE_BINDINGS = resource("clusterrolebindings.rbac.authorization.k8s.io")


class Later(SystemClock):
    """The system's clock, moved forward."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return super().now() + self.seconds


@pytest.fixture
async def control_plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    made = ControlPlane(Assembly(tmp_path / "cp", controllers=False, scheduler=False, store_url="memory://"))
    await made.start()
    await _admit(made)
    yield made
    await made.stop()


async def _admit(made: ControlPlane) -> None:
    """Makes a token, by which one may ask to join."""
    client = made.client()
    secret = {
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:test",
        },
    }  # fmt: skip
    await client.create(resource("secrets"), secret)
    binding = {
        "metadata": {"name": "bootstrap"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:node-bootstrapper",
        },
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}
        ],
    }
    await client.create(ROLE_BINDINGS, binding)


@pytest.fixture
async def signer(control_plane: ControlPlane) -> AsyncIterator[None]:
    """Approves and signs what it sees, as the controllers do."""
    task = asyncio.create_task(_sign(control_plane))
    yield
    task.cancel()


async def _sign(control_plane: ControlPlane) -> None:
    client, done = control_plane.client(), set()
    while True:
        for request in (await client.list(REQUESTS))["items"]:
            name = request["metadata"]["name"]
            if name in done:
                continue
            done.add(name)
            asked = x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))
            parts = {a.oid._name: str(a.value) for a in asked.subject}
            certificate = control_plane.pki.ca.certify(
                asked.public_key(), parts["commonName"], (parts["organizationName"],)  # type: ignore[arg-type]
            )  # fmt: skip
            approved = {"type": "Approved", "status": "True", "reason": "Test", "message": ""}
            request["status"] = {"conditions": [approved]}
            request = await client.update(REQUESTS, request, subresource="approval")
            request["status"]["certificate"] = base64.b64encode(certificate).decode()
            await client.update_status(REQUESTS, request)
        await asyncio.sleep(0.05)


def settings(control_plane: ControlPlane, tmp_path: Path) -> JoinSettings:
    authority = control_plane.pki.ca.cert_pem
    return JoinSettings(control_plane.url, TOKEN, "n1", tmp_path / "node", ca_data=authority, timeout=10)


@pytest.mark.usefixtures("signer")
async def test_a_node_joins_as_itself_and_keeps_its_certificate(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    join = settings(control_plane, tmp_path)
    access = await credentials(join, SystemClock())
    assert access.token == ""
    client = Client(HTTPTransport(access))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    user = (await client.create(resource("selfsubjectreviews.authentication.k8s.io"), review))["status"][
        "userInfo"
    ]
    await client.close()
    assert user["username"] == "system:node:n1"
    assert "system:nodes" in user["groups"]
    assert join.kubeconfig.stat().st_mode & 0o777 == 0o600
    again = await credentials(replace(join, token="", server="https://127.0.0.1:1"), SystemClock())
    assert again.client_cert == access.client_cert


@pytest.mark.usefixtures("signer")
async def test_an_old_certificate_is_renewed_with_itself(control_plane: ControlPlane, tmp_path: Path) -> None:
    join = settings(control_plane, tmp_path)
    first = await credentials(join, SystemClock())
    late = Later(330 * 86400)
    assert 0 < share_left(first.client_cert, late) < 0.2
    renewed = await credentials(replace(join, token=""), late)
    assert renewed.client_cert != first.client_cert
    assert kubeconfig.load(join.kubeconfig).client_cert == renewed.client_cert


async def test_without_approval_the_wait_ends_with_advice(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    with pytest.raises(Timeout, match="kubectl get csr"):
        await credentials(replace(settings(control_plane, tmp_path), timeout=0.5), SystemClock())


async def test_a_denied_request_says_why(control_plane: ControlPlane, tmp_path: Path) -> None:
    joining = asyncio.create_task(credentials(settings(control_plane, tmp_path), SystemClock()))
    client = control_plane.client()
    found: list[dict[str, Any]] = []
    for _ in range(100):
        if found := (await client.list(REQUESTS))["items"]:
            break
        await asyncio.sleep(0.05)
    denied = {"type": "Denied", "status": "True", "reason": "No", "message": "not this one"}
    found[0]["status"] = {"conditions": [denied]}
    await client.update(REQUESTS, found[0], subresource="approval")
    with pytest.raises(Forbidden, match="not this one"):
        await joining


async def test_a_wrong_token_is_named_as_the_reason(control_plane: ControlPlane, tmp_path: Path) -> None:
    join = replace(settings(control_plane, tmp_path), token="abcdef.ffffffffffffffff")
    with pytest.raises(Unauthorized, match="bootstrap token"):
        await credentials(join, SystemClock())


async def test_a_malformed_token_is_refused_before_it_is_sent(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest, match="must look like"):
        await credentials(replace(settings(control_plane, tmp_path), token="secret"), SystemClock())


async def test_the_authority_must_be_known(control_plane: ControlPlane, tmp_path: Path) -> None:
    join = replace(settings(control_plane, tmp_path), ca_data=b"")
    with pytest.raises(BadRequest, match="whom to trust"):
        await credentials(join, SystemClock())


async def test_another_authority_gets_no_token(control_plane: ControlPlane, tmp_path: Path) -> None:
    from sublet.pki.authority import Authority

    join = replace(settings(control_plane, tmp_path), ca_data=Authority.create("other").cert_pem, timeout=3)
    with pytest.raises(StatusError):
        await credentials(join, SystemClock())


async def _unpublish(control_plane: ControlPlane) -> None:
    """Takes away what the control plane publishes by itself, once it has."""
    client = control_plane.client()
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(NotFound):
                await client.delete(resource("configmaps"), "cluster-info", "kube-public")
                return
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("signer")
async def test_the_authority_is_found_by_the_hash_of_its_key(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    join = replace(
        settings(control_plane, tmp_path),
        ca_data=b"",
        ca_hashes=(public_key_hash(control_plane.pki.ca.cert_pem),),
    )
    await _unpublish(control_plane)
    with pytest.raises(NotFound, match="publishes no cluster-info"):
        await credentials(join, SystemClock())
    await _publish(control_plane, tmp_path)
    access = await credentials(join, SystemClock())
    assert access.ca_data.strip() == control_plane.pki.ca.cert_pem.strip()
    wrong = replace(join, ca_hashes=("sha256:" + "0" * 64,), data_dir=tmp_path / "other")
    with pytest.raises(Forbidden, match="none of the expected"):
        await credentials(wrong, SystemClock())


async def test_a_server_that_shows_another_certificate_is_asked_for_its_own(tmp_path: Path) -> None:
    pair = Authority.create("somebody's").issue("api", ips=["127.0.0.1"], usages=(SERVER,))
    shown = Pair(tmp_path / "api.crt", tmp_path / "api.key")
    shown.certificate.write_bytes(pair.cert_pem)
    shown.key.write_bytes(pair.key_pem)
    plane = ControlPlane(
        Assembly(tmp_path / "cp", scheduler=False, store_url="memory://", certificates=ServingFiles(shown))
    )
    await plane.start()
    await _admit(plane)
    signing = asyncio.create_task(_sign(plane))
    try:
        hashes = (public_key_hash(plane.pki.ca.cert_pem),)
        join = replace(settings(plane, tmp_path), ca_data=b"", ca_hashes=hashes)
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(NotFound):
                    access = await credentials(join, SystemClock())
                    break
                await asyncio.sleep(0.05)
        assert access.tls_server_name == LOOPBACK
        client = Client(HTTPTransport(kubeconfig.load(join.kubeconfig)), "kubelet")
        assert (await client.get(resource("namespaces"), "default"))["metadata"]["name"] == "default"
        await client.close()
    finally:
        signing.cancel()
        await plane.stop()


async def _publish(control_plane: ControlPlane, tmp_path: Path) -> None:
    """``cluster-info``, as kubeadm publishes it; that everyone may read it is the control plane's to say."""
    public = tmp_path / "cluster-info.yaml"
    bare = kubeconfig.ClusterAccess(control_plane.url, ca_data=control_plane.pki.ca.cert_pem)
    kubeconfig.write(public, bare)
    client = control_plane.client()
    info = {
        "metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": {"kubeconfig": public.read_text()}
    }  # fmt: skip
    await client.create(resource("configmaps"), info)
