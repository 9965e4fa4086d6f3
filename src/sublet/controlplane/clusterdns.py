"""The tenant's DNS as a small Deployment of its own in kube-system, running ``sublet dns`` from sublet's image."""

from __future__ import annotations

from sublet.machinery.kind import Object

NAMESPACE = "kube-system"
PORT = 1053
_LABELS = {"k8s-app": "kube-dns"}


def manifests(image: str, domain: str, *, cluster_ip: str = "") -> list[Object]:
    """What to apply. Names are those that tools look for: Deployment ``coredns``, Service ``kube-dns``."""

    def named(kind: str, api_version: str, name: str, **rest: object) -> Object:
        metadata: Object = {"name": name, "labels": dict(_LABELS)}
        if not kind.startswith("ClusterRole"):
            metadata["namespace"] = NAMESPACE
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}

    rbac = "rbac.authorization.k8s.io"
    role = named(
        "ClusterRole", f"{rbac}/v1", "system:coredns",
        rules=[
            {"apiGroups": [""], "resources": ["services", "namespaces", "nodes"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    )  # fmt: skip
    binding = named(
        "ClusterRoleBinding", f"{rbac}/v1", "system:coredns",
        roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": "system:coredns"},
        subjects=[{"kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE}],
    )  # fmt: skip
    service = named(
        "Service", "v1", "kube-dns",
        spec={
            **({"clusterIP": cluster_ip} if cluster_ip else {}),
            "selector": dict(_LABELS),
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": PORT},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": PORT},
            ],
        },
    )  # fmt: skip
    service["metadata"]["labels"]["kubernetes.io/name"] = "CoreDNS"
    return [
        named("ServiceAccount", "v1", "coredns"),
        role,
        binding,
        service,
        _deployment(image, domain),
    ]


def _deployment(image: str, domain: str) -> Object:
    container: Object = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["dns", "--port", str(PORT), "--domain", domain],
        "ports": [
            {"name": "dns", "containerPort": PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "170Mi"}},
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "livenessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 20, "failureThreshold": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 1001,
            "runAsGroup": 1001,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": NAMESPACE, "labels": dict(_LABELS)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(_LABELS)},
            "template": {
                "metadata": {"labels": dict(_LABELS)},
                "spec": {
                    "serviceAccountName": "coredns",
                    "dnsPolicy": "Default",
                    "terminationGracePeriodSeconds": 5,
                    "containers": [container],
                },
            },
        },
    }
