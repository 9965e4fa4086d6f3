"""NodeRestriction: what the node agents' own credentials may write."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden

MAKE = Callable[..., Object]
PODS, REQUESTS = resource("pods"), resource("certificatesigningrequests.certificates.k8s.io")
SLICES, CLAIMS = resource("resourceslices.resource.k8s.io"), resource("persistentvolumeclaims")
AGENT = User("system:node:n1", ("system:nodes", "system:masters", "system:authenticated"))
"""A master besides, so that only admission refuses it anything."""


@pytest.fixture
def agent(api: APIServer) -> Client:
    return api.client_as(AGENT, "kubelet")


def request_for(common_name: str) -> Object:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    name = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])  # fmt: skip
    made = x509.CertificateSigningRequestBuilder().subject_name(name)
    pem = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    return {
        "metadata": {"generateName": "csr-"},
        "spec": {
            "request": base64.b64encode(pem).decode(), "usages": ["digital signature", "client auth"],
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        },
    }  # fmt: skip


async def test_a_node_asks_for_certificates_of_its_own_name(agent: Client, client: Client) -> None:
    await agent.create(REQUESTS, request_for("system:node:n1"))
    with pytest.raises(Forbidden, match=r"can only create a node CSR with CN=system:node:n1"):
        await agent.create(REQUESTS, request_for("system:node:n2"))
    await client.create(REQUESTS, request_for("system:node:n2"))
    garbled = request_for("system:node:n1")
    garbled["spec"]["request"] = base64.b64encode(b"hello").decode()
    with pytest.raises(Forbidden, match="unable to parse csr: PEM block type must be CERTIFICATE REQUEST"):
        await agent.create(REQUESTS, garbled)


@pytest.mark.parametrize("operation", ["create", "delete"])
async def test_slices_of_resources_are_written_by_the_node_they_are_of(
    agent: Client, client: Client, operation: str
) -> None:
    def made(name: str, node: str) -> Object:
        pool = {"name": node, "resourceSliceCount": 1, "generation": 1}
        return {
            "metadata": {"name": name},
            "spec": {"driver": "d.example.com", "nodeName": node, "pool": pool},
        }

    await agent.create(SLICES, made("mine", "n1"))
    await client.create(SLICES, made("theirs", "n2"))
    with pytest.raises(Forbidden) as refused:
        if operation == "create":
            await agent.create(SLICES, made("other", "n2"))
        else:
            await agent.delete(SLICES, "theirs")
    assert refused.value.message.endswith(
        f"is forbidden: can only {operation} ResourceSlice with the same NodeName as the requesting node"
    )


async def test_labels_do_not_change_through_a_pods_status(
    agent: Client, client: Client, default_account: None, make_pod: MAKE
) -> None:
    pod = await client.create(PODS, make_pod(nodeName="n1"))
    relabelled = {**pod, "metadata": {**pod["metadata"], "labels": {"steer": "here"}}}
    with pytest.raises(Forbidden, match='node "n1" cannot update labels through pod status'):
        await agent.update(PODS, relabelled, subresource="status")


async def test_of_claims_a_node_writes_the_status(agent: Client, client: Client) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = await client.create(CLAIMS, {"metadata": {"name": "c", "namespace": "default"}, "spec": spec})
    with pytest.raises(
        Forbidden, match='persistentvolumeclaims "c" is forbidden: may only update PVC status'
    ):
        await agent.update(CLAIMS, claim)
    claim = await agent.update(
        CLAIMS,
        {**claim, "status": {"phase": "Pending", "capacity": {"storage": "2Gi"}}},
        subresource="status",
    )
    with pytest.raises(Forbidden, match=r"is not allowed to update fields other than status\.quantity and"):
        await agent.update(CLAIMS, {**claim, "status": {"phase": "Lost"}}, subresource="status")


async def test_a_node_without_a_name_may_nothing(api: APIServer) -> None:
    nameless = api.client_as(User("system:node:", AGENT.groups), "kubelet")
    with pytest.raises(Forbidden, match='could not determine node from user "system:node:"'):
        await nameless.create(resource("nodes"), {"metadata": {"name": "n1"}})


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"serviceAccountName": "robot"}, "a mirror pod may not reference service accounts"),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
            "a mirror pod may not reference secrets",
        ),
        ({"imagePullSecrets": [{"name": "s"}]}, "a mirror pod may not reference secrets"),
        (
            {"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]},
            "a mirror pod may not reference secrets",
        ),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
async def test_a_mirror_pod_has_no_secrets(client: Client, make_pod: MAKE, spec: Object, why: str) -> None:
    pod = make_pod(**{"nodeName": "n1", **spec})
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    with pytest.raises(Forbidden) as refused:
        await client.create(PODS, pod)
    assert refused.value.message == f'pods "web" is forbidden: {why}'


async def test_conditions_of_a_request_are_the_signers_to_set(api: APIServer, client: Client) -> None:
    made = await client.create(REQUESTS, request_for("somebody"))
    rules = [
        {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests/status"],
            "verbs": ["update"],
        }
    ]
    group = "rbac.authorization.k8s.io"
    await client.create(resource(f"clusterroles.{group}"), {"metadata": {"name": "writer"}, "rules": rules})
    subjects = [{"kind": "User", "name": "bob", "apiGroup": group}]
    reference = {"kind": "ClusterRole", "name": "writer", "apiGroup": group}
    binding = {"metadata": {"name": "writer"}, "roleRef": reference, "subjects": subjects}
    await client.create(resource(f"clusterrolebindings.{group}"), binding)
    bob = api.client_as(User("bob", ("system:authenticated",)), "test")
    made = await bob.update_status(REQUESTS, made)  # nothing changes
    made["status"] = {"conditions": [{"type": "Odd", "status": "True", "reason": "r"}]}
    with pytest.raises(Forbidden, match="user not permitted to sign requests with signerName"):
        await bob.update_status(REQUESTS, made)
