"""What makes the API server pass ``metrics.k8s.io`` on to the server in its own process, and who may use it."""

from __future__ import annotations

from sublet.machinery.kind import Object

NAMESPACE, SERVICE = "kube-system", "sublet-metrics"
"""Where the APIService points; no Service has to be there."""
_RBAC = "rbac.authorization.k8s.io/v1"
_READER = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in ("view", "edit", "admin")}


def manifests() -> list[Object]:
    """The APIService; the role that adds reading to view, edit and admin; nodes' right to report."""
    spec = {
        "service": {"namespace": NAMESPACE, "name": SERVICE, "port": 443},
        "group": "metrics.k8s.io", "version": "v1beta1", "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100, "versionPriority": 100,
    }  # fmt: skip
    reading = {"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list"]}
    reporting = {"apiGroups": ["metrics.k8s.io"], "resources": ["nodes"], "verbs": ["update"]}
    name = "sublet:node-metrics"
    nodes = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    return [
        _object(_RBAC, "ClusterRole", "system:aggregated-metrics-reader", labels=_READER, rules=[reading]),
        _object(_RBAC, "ClusterRole", name, rules=[reporting]),
        _object(_RBAC, "ClusterRoleBinding", name, subjects=[nodes], roleRef=role),
        _object("apiregistration.k8s.io/v1", "APIService", "v1beta1.metrics.k8s.io", spec=spec),
    ]


def _object(
    api_version: str, kind: str, name: str, labels: dict[str, str] | None = None, **rest: object
) -> Object:
    metadata: Object = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}
