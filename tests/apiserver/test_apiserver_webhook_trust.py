"""Webhooks whose certificates have no names, as pepr makes them: believed where Go believes them, else not."""

from __future__ import annotations

import base64
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_webhook_server import WebhookServer, allow
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sublet.apiserver import webhooktrust
from sublet.apiserver.webhookclient import CallFailed, ClientConfig, WebhookClient
from sublet.machinery.clock import SystemClock
from sublet.pki.authority import Authority, KeyPair, write_key

NOBODY = x509.Name([])
MAKER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Ephemeral CA")])
DAY = datetime.timedelta(days=1)


def certificate(
    key: Any, signer: Any, *, subject: x509.Name = NOBODY, issuer: x509.Name = NOBODY, ca: bool | None = None,
    name: str = "", until: datetime.timedelta = DAY,
) -> x509.Certificate:  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - 2 * DAY).not_valid_after(now + until)
    )  # fmt: skip
    if ca is not None:
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=False)
    if name:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(signer, hashes.SHA256())


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


def der(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def keys() -> tuple[Any, Any]:
    return ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("leaf", "authority", "believed"),
    [
        ({}, {"ca": True}, True),
        ({}, {"ca": True, "issuer": MAKER}, True),
        ({}, {"ca": False}, False),
        ({}, {}, False),
        ({}, {"ca": True, "until": -DAY}, False),
        ({}, {"ca": True, "subject": MAKER}, False),
        ({"issuer": MAKER}, {"ca": True, "subject": MAKER}, False),
    ],
)
def test_a_nameless_certificate_counts_where_a_nameless_authority_signed_it(
    keys: tuple[Any, Any], leaf: dict[str, Any], authority: dict[str, Any], believed: bool
) -> None:
    shown = certificate(keys[1], keys[0], **leaf)
    bundle = pem(certificate(keys[0], keys[0], **authority))
    found = webhooktrust.vouched(der(shown), bundle, SystemClock().now())
    assert (found is not None) == believed
    if found is not None:
        assert found[0] == pem(shown) and found[1] > SystemClock().now()


def test_one_that_signed_itself_does_not_count(keys: tuple[Any, Any]) -> None:
    bundle = pem(certificate(keys[0], keys[0], ca=True))
    forged = certificate(keys[1], keys[1], name="localhost")
    assert webhooktrust.vouched(der(forged), bundle, SystemClock().now()) is None


@pytest.fixture
async def calls() -> AsyncIterator[WebhookClient]:
    async def nowhere(_namespace: str, _name: str, _port: int) -> tuple[str, int]:
        raise CallFailed("no services here")

    client = WebhookClient(nowhere)
    yield client
    await client.close()


async def ask(calls: WebhookClient, directory: Path, keys: tuple[Any, Any], leaf: x509.Certificate) -> Any:
    server = WebhookServer(Authority.create("unused"), ("localhost",))
    await server.start(directory, KeyPair(pem(leaf), write_key(keys[1])))
    try:
        bundle = pem(certificate(keys[0], keys[0], ca=True, issuer=MAKER))
        config = server.on("/v", allow()) | {"caBundle": base64.b64encode(bundle).decode()}
        review = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1"}}'
        answers = [await calls.post(ClientConfig.of(config), review, 10) for _ in range(2)]
        return answers, server.connections
    finally:
        await server.stop()


async def test_such_a_webhook_is_called_and_its_connection_kept(
    calls: WebhookClient, keys: tuple[Any, Any], tmp_path: Path
) -> None:
    answers, connections = await ask(calls, tmp_path, keys, certificate(keys[1], keys[0], name="localhost"))
    assert [each["response"]["allowed"] for each in answers] == [True, True]
    assert connections == 1


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"name": "elsewhere"}, "certificate is valid for elsewhere, not localhost"),
        ({"name": "localhost", "until": -DAY}, "certificate has expired or is not yet valid"),
    ],
)
async def test_its_own_name_and_time_still_count(
    calls: WebhookClient, keys: tuple[Any, Any], tmp_path: Path, made: dict[str, Any], why: str
) -> None:
    with pytest.raises(CallFailed, match=why):
        await ask(calls, tmp_path, keys, certificate(keys[1], keys[0], **made))


async def test_one_of_another_key_is_of_an_unknown_authority(
    calls: WebhookClient, keys: tuple[Any, Any], tmp_path: Path
) -> None:
    with pytest.raises(CallFailed, match="certificate signed by unknown authority"):
        await ask(calls, tmp_path, keys, certificate(keys[1], keys[1], name="localhost"))
