"""Certificate requests, ServiceAccounts and reviews."""

from __future__ import annotations

import base64
from typing import Any

from conformance_client import API, MERGE, STRATEGIC, APIError, Object
from conformance_names import conformance
from conformance_steps import (
    api_operations,
    change,
    check_discovery,
    condition,
    delete_all,
    gone,
    random_name,
    refused,
    wait_for,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ACCOUNTS = "[sig-auth] ServiceAccounts should "
SIGNER = "example.com/e2e-signer"


def certificate_request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e-example-user")])
    pem = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    return base64.b64encode(pem).decode()


@conformance(
    "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]"
)
def test_certificate_requests(api: API) -> None:
    version, plural = "certificates.k8s.io/v1", "certificatesigningrequests"
    check_discovery(api, version, plural, f"{plural}/approval", f"{plural}/status")
    resource = api.typed(version, plural)
    signer = f"{SIGNER}-{random_name('x')}"
    selector = random_name("e2e").replace("-", "=")
    label, value = selector.split("=")
    request = certificate_request()

    def make() -> Object:
        return {
            "metadata": {"generateName": "e2e-example-csr-", "labels": {label: value}},
            "spec": {
                "request": request,
                "signerName": signer,
                "expirationSeconds": 3600,
                "usages": ["digital signature", "key encipherment", "server auth"],
            },
        }

    updated = api_operations(
        resource, make,
        edit_patch={"metadata": {"annotations": {"patched": "true"}}},
        edit=lambda o: o["metadata"]["annotations"].update(updated="true"),
        check_edit=lambda o: o["metadata"]["annotations"]["updated"] == "true",
        selector=selector,
    )  # fmt: skip
    name = updated["metadata"]["name"]
    assert len(resource.items(field_selector=f"spec.signerName={signer}")) == 3
    assert updated["spec"]["username"] and "system:masters" in updated["spec"]["groups"]
    approve(resource, name)
    give_certificate(resource, name)
    delete_all(resource, name, selector, 2)


def approve(resource: Any, name: str) -> None:
    """Reads, patches and updates the approval subresource."""
    assert resource.get(name, "approval")["metadata"]["name"] == name
    approved = {"type": "Approved", "status": "True", "reason": "E2E"}
    patch = {
        "metadata": {"annotations": {"patchedapproval": "true"}},
        "status": {"conditions": [{"type": "ApprovalPatch", "status": "True", "reason": "e2e"}]},
    }
    patched = resource.patch(name, patch, MERGE, "approval")
    assert condition(patched, "ApprovalPatch")
    assert patched["metadata"]["annotations"]["patchedapproval"] == "true"
    updated = change(resource, name, lambda o: o["status"]["conditions"].append(approved), "approval")
    assert condition(updated, "Approved")


def give_certificate(resource: Any, name: str) -> None:
    """Reads, patches and updates the status subresource."""
    assert resource.get(name, "status")["metadata"]["name"] == name
    certificate = base64.b64encode(self_signed()).decode()
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"certificate": certificate},
    }
    patched = resource.patch(name, patch, MERGE, "status")
    assert patched["status"]["certificate"] == certificate
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    extra = {"type": "StatusUpdate", "status": "True", "reason": "E2E"}
    updated = change(resource, name, lambda o: o["status"]["conditions"].append(extra), "status")
    assert condition(updated, "StatusUpdate") and condition(updated, "Approved")
    assert updated["status"]["certificate"] == certificate


def self_signed() -> bytes:
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@conformance(f"{ACCOUNTS}allow opting out of API token automount [Conformance]")
def test_the_token_is_mounted_unless_opted_out(api: API, namespace: str, pod_spec: Object) -> None:
    accounts, pods = (api.typed("v1", plural, namespace) for plural in ("serviceaccounts", "pods"))
    accounts.create({"metadata": {"name": "mount"}, "automountServiceAccountToken": True})
    accounts.create({"metadata": {"name": "nomount"}, "automountServiceAccountToken": False})
    cases = [
        ("default", None, True), ("default", True, True), ("default", False, False),
        ("mount", None, True), ("mount", True, True), ("mount", False, False),
        ("nomount", None, False), ("nomount", True, True), ("nomount", False, False),
    ]  # fmt: skip
    for number, (account, automount, expected) in enumerate(cases):
        spec = {**pod_spec, "serviceAccountName": account, "restartPolicy": "Never"}
        if automount is not None:
            spec["automountServiceAccountToken"] = automount
        created = pods.create({"metadata": {"name": f"pod-{number}"}, "spec": spec})
        mounts = [m["mountPath"] for c in created["spec"]["containers"] for m in c.get("volumeMounts", [])]
        assert (MOUNT in mounts) == expected, (account, automount)


@conformance(f"{ACCOUNTS}guarantee kube-root-ca.crt exist in any namespace [Conformance]")
def test_the_root_certificate_comes_back(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    name = "kube-root-ca.crt"
    original = configmaps.get(name)["data"]
    assert "BEGIN CERTIFICATE" in original["ca.crt"]
    configmaps.delete(name)
    wait_for(lambda: configmaps.get(name)["data"] == original, "published again", ignore=APIError)
    change(configmaps, name, lambda o: o.update(data={"ca.crt": ""}))
    wait_for(lambda: configmaps.get(name)["data"] == original, "repaired")


@conformance(f"{ACCOUNTS}run through the lifecycle of a ServiceAccount [Conformance]")
def test_the_life_of_a_service_account(api: API, namespace: str) -> None:
    accounts = api.typed("v1", "serviceaccounts", namespace)
    name, label = "testserviceaccount", {"test-serviceaccount-static": "true"}
    selector = "test-serviceaccount-static=true"
    accounts.create({"metadata": {"name": name, "labels": label}})
    with accounts.watch(label_selector=selector) as watch:
        assert watch.expect("ADDED")["metadata"]["name"] == name
        accounts.patch(name, {"automountServiceAccountToken": False}, STRATEGIC)
        watch.until("MODIFIED", lambda o: o["automountServiceAccountToken"] is False)
        found = api.typed("v1", "serviceaccounts").items(label_selector=selector)
        assert [o["metadata"]["name"] for o in found] == [name]
        accounts.delete_collection(selector)
        assert watch.until("DELETED")["metadata"]["name"] == name


@conformance(f"{ACCOUNTS}update a ServiceAccount [Conformance]")
def test_a_service_account_is_updated(api: API, namespace: str) -> None:
    accounts = api.typed("v1", "serviceaccounts", namespace)
    name = random_name("e2e-sa")
    created = accounts.create({"metadata": {"name": name}, "automountServiceAccountToken": False})
    assert created["automountServiceAccountToken"] is False
    updated = change(accounts, name, lambda o: o.update(automountServiceAccountToken=True))
    assert updated["automountServiceAccountToken"] is True


@conformance(f"{ACCOUNTS}create a serviceAccountToken and ensure a successful TokenReview [Conformance]")
def test_a_token_is_reviewed(api: API, namespace: str) -> None:
    accounts = api.typed("v1", "serviceaccounts", namespace)
    name = random_name("sa")
    created = accounts.create({"metadata": {"name": name}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = accounts.create(request, name, "token")["status"]["token"]
    reviews = api.typed("authentication.k8s.io/v1", "tokenreviews")
    status = reviews.create({"spec": {"token": token}})["status"]
    assert status["authenticated"] is True and not status.get("error")
    user = status["user"]
    assert user["username"] == f"system:serviceaccount:{namespace}:{name}"
    assert user["uid"] == created["metadata"]["uid"]
    assert set(user["groups"]) == {
        "system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated",
    }  # fmt: skip
    accounts.delete(name)
    gone(accounts, name)
    assert not reviews.create({"spec": {"token": token}})["status"].get("authenticated")


@conformance("[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]")
def test_subject_reviews(api: API, namespace: str) -> None:
    account = "e2e"
    created = api.typed("v1", "serviceaccounts", namespace).create({"metadata": {"name": account}})
    user = f"system:serviceaccount:{namespace}:{account}"
    spec = {
        "user": user,
        "uid": created["metadata"]["uid"],
        "resourceAttributes": {
            "verb": "get", "namespace": namespace, "group": "", "resource": "configmaps", "version": "v1",
        },
    }  # fmt: skip
    version = "authorization.k8s.io/v1"
    subject = api.typed(version, "subjectaccessreviews")
    local = api.typed(version, "localsubjectaccessreviews", namespace)
    local_body: Object = {"metadata": {"namespace": namespace}, "spec": spec}
    impersonating = api.acting({"Impersonate-User": user, "Impersonate-Uid": created["metadata"]["uid"]})
    configmaps = impersonating.typed("v1", "configmaps", namespace)
    assert not subject.create({"spec": spec})["status"].get("allowed")
    assert not local.create(local_body)["status"].get("allowed")
    with refused(
        "Forbidden", f'User "{user}" cannot list resource "configmaps" in API group "" in the namespace'
    ):
        configmaps.list()
    allow_reading(api, namespace, account)
    assert subject.create({"spec": spec})["status"]["allowed"] is True
    assert local.create(local_body)["status"]["allowed"] is True
    assert configmaps.list()["kind"] == "ConfigMapList"


def allow_reading(api: API, namespace: str, account: str) -> None:
    rbac = "rbac.authorization.k8s.io"
    api.typed(f"{rbac}/v1", "rolebindings", namespace).create(
        {
            "metadata": {"name": "e2e-view"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
        }
    )
