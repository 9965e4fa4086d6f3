"""What a machine needs to become a node: who may ask for a certificate, and the public ``cluster-info``.

Names are kubeadm's (kubeadm design details: "TLS bootstrap", "cluster-info ConfigMap").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.kubeconfig import ClusterAccess
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import StatusError

logger = logging.getLogger(__name__)

TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token"
_RBAC = "rbac.authorization.k8s.io"
_RETRY_SECONDS = 2.0


def manifests(server: str, ca_data: bytes) -> list[tuple[Resource, Object]]:
    """What to apply. ``server`` is where nodes reach the API."""
    info = kubeconfig.to_config(ClusterAccess(server=server, ca_data=ca_data), "")
    info["users"] = []
    info["contexts"] = []
    info["current-context"] = ""
    cluster_info = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": codec.encode_yaml(info).decode()},
    }
    found = [
        (resource("configmaps"), cluster_info),
        _object("Role", "kubeadm:bootstrap-signer-clusterinfo", "kube-public", rules=[
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]},
        ]),
        _object("RoleBinding", "kubeadm:bootstrap-signer-clusterinfo", "kube-public",
                **_binding("Role", "kubeadm:bootstrap-signer-clusterinfo", "User", "system:anonymous")),
        _object("ClusterRole", "kubeadm:get-nodes", rules=[
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
        ]),
    ]  # fmt: skip
    for name, role, group in (
        ("kubeadm:get-nodes", "kubeadm:get-nodes", TOKEN_GROUP),
        ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", TOKEN_GROUP),
        (
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            TOKEN_GROUP,
        ),
        (
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            "system:nodes",
        ),
        # The service proxy is part of the node agent's machine and acts with the node's certificate.
        ("sublet:node-proxier", "system:node-proxier", "system:nodes"),
    ):
        found.append(_object("ClusterRoleBinding", name, **_binding("ClusterRole", role, "Group", group)))
    return found


def _object(kind: str, name: str, namespace: str = "", **rest: Any) -> tuple[Resource, Object]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    obj = {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, **rest}
    return resource(f"{kind.lower()}s.{_RBAC}"), obj


def _binding(role_kind: str, role: str, subject_kind: str, subject: str) -> dict[str, Any]:
    return {
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": subject_kind, "name": subject}],
    }


class Joining:
    """Keeps these objects applied: at start, again until it succeeds."""

    def __init__(self, client: Client, server: str, ca_data: bytes) -> None:
        self._client = client
        self._manifests = manifests(server, ca_data)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(apply(self._client, self._manifests), name="joining")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


async def apply(client: Client, wanted: list[tuple[Resource, Object]]) -> None:
    """Server-side applies objects in order; tries each until it succeeds."""
    for where, obj in wanted:
        metadata = obj["metadata"]
        while True:
            try:
                await client.patch(
                    where, metadata["name"], obj, metadata.get("namespace", ""),
                    kind="apply", field_manager="sublet", force=True,
                )  # fmt: skip
                break
            except StatusError as error:
                logger.warning("%s %s cannot be applied: %s", where.qualified, metadata["name"], error)
            await asyncio.sleep(_RETRY_SECONDS)
