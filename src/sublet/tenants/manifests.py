"""The host objects of one tenant on shared nodes, as pure functions of its name and configuration.

Names and shapes follow reference/tenant-clusters.md 3.1 and 3.2, under sublet's own prefix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sublet import __version__
from sublet.controlplane.config import Configuration
from sublet.machinery import codec, names
from sublet.machinery.kind import Object

APP = "sublet"
LONGEST_NAME = 43
"""A tenant's name is part of ``sublet-workload-NAME`` and of pod names with a controller hash, 63 at most."""
CREATED_ANNOTATION = "sublet.dev/created-by-cli"
CONFIG_KEY = "config.yaml"
KUBECONFIG_KEY = "config"


class TenantError(RuntimeError):
    """Something about a tenant a user can act on; ``str()`` says what and how."""


@dataclass(frozen=True)
class TenantNames:
    """What a tenant's objects are called on the host."""

    name: str

    @property
    def service_account(self) -> str:
        return f"sublet-{self.name}"

    @property
    def workload_service_account(self) -> str:
        return f"sublet-workload-{self.name}"

    @property
    def config_secret(self) -> str:
        return f"sublet-config-{self.name}"

    @property
    def kubeconfig_secret(self) -> str:
        return f"sublet-{self.name}"

    @property
    def headless_service(self) -> str:
        return f"{self.name}-headless"

    @property
    def pod(self) -> str:
        return f"{self.name}-0"

    @property
    def selector(self) -> dict[str, str]:
        return {"app": APP, "release": self.name}


def default_namespace(name: str) -> str:
    return f"sublet-{name}"


def check_name(name: str) -> None:
    """Raises :class:`TenantError` for a name that cannot be part of every object's name."""
    problems = names.dns1035_label(name)
    if problems:
        raise TenantError(f"{name!r} is no valid tenant name: {problems[0]}")
    if len(name) > LONGEST_NAME:
        raise TenantError(
            f"the tenant name {name!r} has {len(name)} characters; at most {LONGEST_NAME} fit, "
            "because it becomes part of the names of its objects on the host"
        )


def manifests(
    name: str,
    namespace: str,
    configuration: Configuration,
    config_yaml: str,
    image: str,
    host_rules: Sequence[dict[str, Any]],
    cluster_rules: Sequence[dict[str, Any]] = (),
) -> list[Object]:
    """Everything to apply, in order; the StatefulSet is last, so that its presence means the rest is there.

    ``config_yaml`` is the user's own part of the configuration, as it was given.
    """
    made = TenantNames(name)
    objects = [
        _named("v1", "ServiceAccount", made.service_account),
        _named("v1", "ServiceAccount", made.workload_service_account, automountServiceAccountToken=False),
        _role(made, host_rules),
        _role_binding(made, namespace),
        *_cluster_role(made, namespace, cluster_rules),
        _named(
            "v1", "Secret", made.config_secret, type="Opaque",
            data={CONFIG_KEY: _base64(config_yaml)},
        ),
        _service(made, configuration),
        _headless_service(made),
        _workload(made, configuration, config_yaml, image),
    ]  # fmt: skip
    for obj in objects:
        metadata = obj["metadata"]
        if not obj["kind"].startswith("ClusterRole"):
            metadata["namespace"] = namespace
        metadata["labels"] = {
            **made.selector,
            "app.kubernetes.io/version": __version__,
            **metadata.get("labels", {}),
        }
    return objects


def _named(api_version: str, kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **rest}


def _base64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


_RBAC = "rbac.authorization.k8s.io/v1"


def _role(made: TenantNames, host_rules: Sequence[dict[str, Any]]) -> Object:
    own = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get", "patch", "update"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "list", "watch"]},
    ]
    return _named(_RBAC, "Role", made.service_account, rules=merged_rules([*own, *host_rules]))


def merged_rules(rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One rule per (group, resource) with all its verbs, sorted, so that equal needs give equal roles."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs.setdefault((group, resource), set()).update(rule["verbs"])
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs[group, resource])}
        for group, resource in sorted(verbs)
    ]


def _role_binding(made: TenantNames, namespace: str) -> Object:
    return _named(
        _RBAC, "RoleBinding", made.service_account,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": made.service_account},
        subjects=[{"kind": "ServiceAccount", "name": made.service_account, "namespace": namespace}],
    )  # fmt: skip


def cluster_role_name(name: str, namespace: str) -> str:
    return f"sublet-{name}-in-{namespace}"


def _cluster_role(made: TenantNames, namespace: str, rules: Sequence[dict[str, Any]]) -> list[Object]:
    """Only when something cluster-scoped is synced: by default a tenant needs nothing outside its namespace."""
    if not rules:
        return []
    name = cluster_role_name(made.name, namespace)
    return [
        _named(_RBAC, "ClusterRole", name, rules=merged_rules(rules)),
        _named(
            _RBAC, "ClusterRoleBinding", name,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": made.service_account, "namespace": namespace}],
        ),
    ]  # fmt: skip


def _service(made: TenantNames, configuration: Configuration) -> Object:
    return _named(
        "v1", "Service", made.name,
        spec={
            "type": configuration.control_plane.service.spec.type,
            "selector": made.selector,
            "ports": [
                {"name": "https", "port": 443, "targetPort": configuration.control_plane.proxy.port,
                 "protocol": "TCP"},
            ],
        },
    )  # fmt: skip


def _headless_service(made: TenantNames) -> Object:
    return _named(
        "v1", "Service", made.headless_service,
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": made.selector,
            "ports": [{"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"}],
        },
    )  # fmt: skip


def config_hash(config_yaml: str) -> str:
    return hashlib.sha256(config_yaml.encode()).hexdigest()[:16]


def _workload(made: TenantNames, configuration: Configuration, config_yaml: str, image: str) -> Object:
    settings = configuration.control_plane.stateful_set
    claim = settings.persistence.volume_claim
    persistent = claim.enabled is not False
    template: Object = {
        "metadata": {
            "labels": made.selector,
            "annotations": {"sublet.dev/config-hash": config_hash(config_yaml)},
        },
        "spec": _pod_spec(made, configuration, image, persistent=persistent),
    }
    spec: Object = {
        "replicas": 1,
        "selector": {"matchLabels": made.selector},
        "serviceName": made.headless_service,
        "podManagementPolicy": "Parallel",
        "template": template,
    }
    if persistent:
        claim_spec: Object = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": claim.size}},
        }
        if claim.storage_class:
            claim_spec["storageClassName"] = claim.storage_class
        spec["volumeClaimTemplates"] = [
            {"metadata": {"name": "data", "labels": made.selector}, "spec": claim_spec}
        ]
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    return _named("apps/v1", "StatefulSet", made.name, spec=spec)


def _pod_spec(made: TenantNames, configuration: Configuration, image: str, *, persistent: bool) -> Object:
    settings = configuration.control_plane.stateful_set
    volumes: list[Object] = [
        {"name": "config", "secret": {"secretName": made.config_secret}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if not persistent:
        volumes.append({"name": "data", "emptyDir": {}})
    volumes += settings.persistence.add_volumes
    spec: Object = {
        "serviceAccountName": made.service_account,
        "terminationGracePeriodSeconds": 15,
        "enableServiceLinks": False,
        "containers": [_container(made, configuration, image)],
        "volumes": volumes,
    }
    scheduling = settings.scheduling
    for key, value in (
        ("nodeSelector", scheduling.node_selector),
        ("tolerations", scheduling.tolerations),
        ("affinity", scheduling.affinity),
        ("priorityClassName", scheduling.priority_class_name),
    ):
        if value:
            spec[key] = value
    return spec


def _container(made: TenantNames, configuration: Configuration, image: str) -> Object:
    settings = configuration.control_plane.stateful_set
    port = configuration.control_plane.proxy.port

    def probe(path: str, period: int, failures: int) -> Object:
        return {
            "httpGet": {"path": path, "port": port, "scheme": "HTTPS"},
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": 3,
        }

    container: Object = {
        "name": "control-plane",
        "image": image,
        "imagePullPolicy": settings.image_pull_policy or "IfNotPresent",
        "args": [
            "run", "--config", f"/etc/sublet/{CONFIG_KEY}", "--data-dir", "/data",
            "--host", configuration.control_plane.proxy.bind_address, "--port", str(port),
            "--tenant", made.name,
        ],
        "env": [
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            _field("POD_IP", "status.podIP"),
            _field("NODE_NAME", "spec.nodeName"),
            {"name": "SUBLET_IMAGE", "value": image},
            *settings.env,
        ],
        "ports": [{"name": "https", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": probe("/readyz", 1, 300),
        "readinessProbe": probe("/readyz", 2, 3),
        "livenessProbe": probe("/livez", 10, 6),
        "resources": settings.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/etc/sublet", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *settings.persistence.add_volume_mounts,
        ],
    }  # fmt: skip
    return container


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def parse_values(files: Sequence[tuple[str, bytes]], sets: Sequence[str]) -> dict[str, Any]:
    """Values files (name, content) merged in order, then ``--set key.path=value``. Raises :class:`TenantError`."""
    merged: dict[str, Any] = {}
    for name, content in files:
        document = _decoded(content, name)
        if document is None:
            continue
        if not isinstance(document, dict):
            raise TenantError(f"{name} must hold a mapping of configuration keys, not {document!r}")
        merged = _merge(merged, document)
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise TenantError(f"--set {text!r} must have the form key.path=value")
        nested: Any = _decoded(value.encode(), f"the value of --set {text!r}") if value else ""
        for part in reversed(path.split(".")):
            nested = {part: nested}
        merged = _merge(merged, nested)
    return merged


def _decoded(content: bytes, what: str) -> Any:
    try:
        return codec.decode_yaml_file(content)
    except ValueError as error:
        raise TenantError(f"{what} is no valid YAML: {error}") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = _merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return result
