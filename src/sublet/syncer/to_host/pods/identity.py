"""Who a tenant pod believes to be: annotations of its host copy, and the downward API that reads them."""

from __future__ import annotations

import re

from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.syncer.declare import Scope
from sublet.syncer.mapping import Mapping

_BY_KEY = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_AUTOSCALER = "cluster-autoscaler.kubernetes.io"


def field_path(path: str, mapping: Mapping) -> str:
    """Where the host copy holds what a field reference of the tenant's pod means."""
    key = mapping.names.key
    known = {
        "metadata.name": "name",
        "metadata.namespace": "namespace",
        "metadata.uid": "uid",
        "metadata.labels": "labels",
        "spec.serviceAccountName": "service-account-name",
    }
    if path in known:
        return f"metadata.annotations['{key(known[path])}']"
    if match := _BY_KEY.fullmatch(path):
        kind, name = match.groups()
        translated = mapping.label_key(name) if kind == "labels" else mapping.annotation_key(name)
        return f"metadata.{kind}['{translated}']"
    return path


def translate_field(ref: Object | None, mapping: Mapping) -> None:
    """Changes one ``fieldRef`` in place."""
    if ref and ref.get("fieldPath"):
        ref["fieldPath"] = field_path(ref["fieldPath"], mapping)


def labels_text(labels: dict[str, str]) -> str:
    """As the downward API writes labels: sorted ``key="value"`` lines."""
    return "\n".join(f"{key}={codec.encode_json(value).decode()}" for key, value in sorted(labels.items()))


def decorate(tenant: Object, scope: Scope) -> tuple[dict[str, str], dict[str, str]]:
    """(labels, annotations) that a pod's copy has besides the tenant's: its namespace's labels, its identity."""
    mapping, key = scope.mapping, scope.mapping.names.key
    namespace = scope.tenant_objects(resource("namespaces")).get("", objects.namespace(tenant)) or {}
    labels = {mapping.namespace_label_key(k): value for k, value in objects.labels(namespace).items()}
    annotations = {
        key("name"): objects.name(tenant),
        key("namespace"): objects.namespace(tenant),
        key("uid"): objects.uid(tenant),
        key("service-account-name"): (tenant.get("spec") or {}).get("serviceAccountName") or "",
        key("labels"): labels_text(objects.labels(tenant)),
    }
    if owners := objects.owners(tenant):
        annotations[key("owner-references")] = codec.encode_json(owners).decode()
    controller = objects.controller_of(tenant)
    if controller is not None:
        annotations[key("owner-set-kind")] = controller["kind"]
        own = objects.annotations(tenant)
        annotations[f"{_AUTOSCALER}/safe-to-evict"] = own.get(f"{_AUTOSCALER}/safe-to-evict", "true")
        if controller["kind"] == "DaemonSet":
            annotations[f"{_AUTOSCALER}/daemonset-pod"] = own.get(f"{_AUTOSCALER}/daemonset-pod", "true")
    return labels, annotations


NOT_COPIED = frozenset({f"{_AUTOSCALER}/safe-to-evict", f"{_AUTOSCALER}/daemonset-pod"})
"""Annotations that :func:`decorate` writes, and that no controller on the host may give back."""
