"""Roles, certificates, tokens and address ranges."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest

from sublet.controllers import (
    bootstrap_signer,
    certificatesigningrequest_approving,
    certificatesigningrequest_cleaner,
    certificatesigningrequest_signing,
    clusterrole_aggregation,
    service_cidrs,
    token_cleaner,
)
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.pki.authority import Authority
from sublet.reconcile import certificates


def csr(
    common_name: str = "system:node:n1",
    organization: str = "system:nodes",
    signer: str = certificates.KUBELET_CLIENT_SIGNER,
    usages: tuple[str, ...] = ("digital signature", "client auth"),
    dns: tuple[str, ...] = (),
    **spec: Any,
) -> dict[str, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns])
        builder = builder.add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    request = base64.b64encode(pem).decode()
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "n1", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"request": request, "signerName": signer, "usages": list(usages), **spec},
    }


def test_a_node_client_certificate_carries_the_subject_that_was_asked_for() -> None:
    from cryptography import x509

    pem = certificatesigningrequest_signing.sign(Authority.create("ca"), csr(expirationSeconds=3600))
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    lived = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lived.total_seconds() < 2 * 3600


_ALL_SERVING = ("digital signature", "key encipherment", "server auth")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"common_name": "admin"}, "subject common name does not begin with system:node: "),
        ({"organization": "system:masters"}, "subject organization is not system:nodes"),
        (
            {"usages": ("server auth",)},
            "usages did not match [client auth digital signature key encipherment]",
        ),
        ({"dns": ("example.com",)}, "DNS subjectAltNames are not allowed"),
        (
            {"signer": certificates.KUBELET_SERVING_SIGNER, "usages": _ALL_SERVING},
            "DNS or IP subjectAltName is required",
        ),
        (
            {"signer": certificates.KUBELET_SERVING_SIGNER, "dns": ("n1",)},
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (
            {"signer": certificates.CLIENT_SIGNER, "usages": ("client auth", "code signing")},
            "invalid usage for client certificate: code signing",
        ),
        (
            {"signer": certificates.CLIENT_SIGNER, "usages": ("digital signature",)},
            "missing required usage for client certificate: client auth",
        ),
    ],
)
def test_a_request_against_its_signers_rules_is_not_signed(bad: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        certificatesigningrequest_signing.sign(Authority.create("ca"), csr(**bad))
    assert str(caught.value) == message


def test_a_kubelets_usages_may_leave_out_the_enciphering_of_keys() -> None:
    serving = csr(
        signer=certificates.KUBELET_SERVING_SIGNER, usages=("digital signature", "server auth"), dns=("n1",)
    )
    assert certificates.objection(serving, certificates.parse(serving)) == ""


@pytest.mark.parametrize(("stated", "hours"), [(None, 2.0), (60, 1 / 6), (3600, 1.0), (86400, 2.0)])
def test_a_certificate_lives_ten_minutes_at_least_and_no_longer_than_is_set(
    stated: Any, hours: float
) -> None:
    from cryptography import x509

    asked = csr() if stated is None else csr(expirationSeconds=stated)
    pem = certificatesigningrequest_signing.sign(Authority.create("ca"), asked, 7200.0)
    left = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp() - time.time()
    assert left == pytest.approx(hours * 3600, abs=60)


def test_a_node_that_asks_for_itself_is_recognised_as_such() -> None:
    own = certificatesigningrequest_approving.recognise(csr(username="system:node:n1"))
    other = certificatesigningrequest_approving.recognise(csr(username="system:bootstrap:abcdef"))
    assert [each.subresource for each in own] == ["selfnodeclient", "nodeclient"]
    assert [each.subresource for each in other] == ["nodeclient"]
    assert certificatesigningrequest_approving.recognise(csr("admin")) == []


def test_a_pending_request_goes_after_a_day_and_a_decided_one_after_an_hour() -> None:
    pending = csr()
    assert certificatesigningrequest_cleaner.expires_in(pending, 0.0) == 24 * 3600
    denied = {"type": "Denied", "status": "True", "lastUpdateTime": "1970-01-01T00:10:00Z"}
    decided = {**pending, "status": {"conditions": [denied]}}
    assert certificatesigningrequest_cleaner.expires_in(decided, 600.0) == 3600


def test_a_request_goes_when_its_certificate_has_expired() -> None:
    now = time.time()
    for seconds, wanted in ((900, 900.0), (7200, 3600.0)):
        asked = csr(expirationSeconds=seconds)
        pem = certificatesigningrequest_signing.sign(Authority.create("ca"), asked)
        asked["status"] = {
            "certificate": base64.b64encode(pem).decode(),
            "conditions": [{"type": "Approved", "status": "True", "lastUpdateTime": objects.rfc3339(now)}],
        }
        left = certificatesigningrequest_cleaner.expires_in(asked, now)
        assert left == pytest.approx(wanted, abs=60)


def test_an_aggregated_role_has_each_rule_of_the_chosen_roles_once() -> None:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    chosen = [{"metadata": {"name": name, "labels": {"a": "b"}}, "rules": [rule]} for name in ("x", "y")]
    role = {
        "metadata": {"name": "all", "labels": {"a": "b"}},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
        "rules": [{"verbs": ["*"]}],
    }
    assert clusterrole_aggregation.aggregated(role, [role, *chosen]) == [rule]


def test_a_range_is_in_use_while_an_address_is_in_it_alone() -> None:
    own: Any = {"metadata": {"name": "own"}, "spec": {"cidrs": ["10.0.0.0/24"]}}
    wide: Any = {"metadata": {"name": "wide"}, "spec": {"cidrs": ["10.0.0.0/16"]}}
    assert service_cidrs.in_use(own, [], ["10.0.0.7"])
    assert not service_cidrs.in_use(own, [wide], ["10.0.0.7"])
    assert not service_cidrs.in_use(own, [], ["10.9.0.7"])


def encoded(**data: str) -> dict[str, Any]:
    return {"data": {k.replace("_", "-"): base64.b64encode(v.encode()).decode() for k, v in data.items()}}


def test_an_expired_bootstrap_token_is_due_at_once_and_one_without_end_never() -> None:
    assert token_cleaner.expires_in(encoded(expiration="1970-01-01T00:01:00Z"), 0.0) == 60.0
    assert token_cleaner.expires_in(encoded(expiration="1970-01-01T00:01:00Z"), 90.0) == 0.0
    assert token_cleaner.expires_in(encoded(token_id="abcdef"), 0.0) is None


def bootstrap_token(identity: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": f"bootstrap-token-{identity}"}, **encoded(token_id=identity, **data)}


def test_cluster_info_is_signed_with_each_signing_token_and_no_other() -> None:
    secret = "0123456789abcdef"
    token = bootstrap_token("abcdef", token_secret=secret, usage_bootstrap_signing="true")
    others = [
        bootstrap_token("uvwxyz", token_secret=secret),
        bootstrap_token(
            "ghijkl", token_secret=secret, usage_bootstrap_signing="true", expiration="1970-01-01T00:01:00Z"
        ),
        bootstrap_token("mnopqr", usage_bootstrap_signing="true"),
        {**token, "metadata": {"name": "bootstrap-token-another"}},
    ]
    config_map = {"data": {"kubeconfig": "hello", "jws-kubeconfig-gone": "old"}}
    data = bootstrap_signer.signed(config_map, [token, *others], 90.0)
    assert data is not None and set(data) == {"kubeconfig", "jws-kubeconfig-abcdef"}
    header, _, found = data["jws-kubeconfig-abcdef"].partition("..")
    payload = base64.urlsafe_b64encode(b"hello").rstrip(b"=").decode()
    mac = hmac.new(b"0123456789abcdef", f"{header}.{payload}".encode(), hashlib.sha256).digest()
    assert found == base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    assert bootstrap_signer.signed({"data": data}, [token], 90.0) is None


async def test_aggregated_roles_follow_the_roles_they_choose(cluster: Any, eventually: Any) -> None:
    rule = {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    roles = resource("clusterroles.rbac.authorization.k8s.io")
    await cluster.client.create(roles, {"metadata": {"name": "widgets", "labels": labels}, "rules": [rule]})

    async def included() -> bool:
        return rule in (await cluster.client.get(roles, "view"))["rules"]

    await eventually(included)


async def test_a_token_secret_is_filled_and_goes_with_its_account(cluster: Any, eventually: Any) -> None:
    await cluster.client.create(resource("serviceaccounts"), {"metadata": {"name": "bot"}}, "test")
    secret = {
        "metadata": {"name": "bot", "annotations": {"kubernetes.io/service-account.name": "bot"}},
        "type": "kubernetes.io/service-account-token",
    }
    await cluster.client.create(resource("secrets"), secret, "test")

    async def filled() -> Any:
        found = await cluster.get("secrets", "bot")
        return set(found.get("data") or ()) == {"ca.crt", "namespace", "token"} and found

    await eventually(filled)
    await cluster.client.delete(resource("serviceaccounts"), "bot", "test")

    async def gone() -> bool:
        return not await cluster.items("secrets")

    await eventually(gone)


async def test_an_ephemeral_volume_gets_a_claim_owned_by_its_pod(cluster: Any, eventually: Any) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
    await cluster.make("pods", "app", {"containers": [{"name": "c", "image": "nginx"}], "volumes": [volume]})

    async def made() -> Any:
        found = await cluster.items("persistentvolumeclaims")
        return found and found[0]

    found = await eventually(made)
    assert found["metadata"]["name"] == "app-scratch"
    assert found["metadata"]["ownerReferences"][0]["name"] == "app"
