"""Which host object stands for which tenant object: names, labels and annotations, as pure functions.

Names follow the incumbent's function (reference/tenant-clusters.md 2.1, 2.2), so that tools which know it keep
working. The way back is never found by parsing a name: it is written in the host object's annotations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource

LONGEST = 63
_KEPT = 52


@dataclass(frozen=True)
class Names:
    """What our labels and annotations are called. ``compatibility: vcluster`` switches both fields."""

    prefix: str = "sublet.dev"
    cluster_word: str = "sublet"
    """How names of cluster-scoped host objects begin."""

    def key(self, name: str) -> str:
        """``sublet.dev/NAME``."""
        return f"{self.prefix}/{name}"

    @cached_property
    def managed_by(self) -> str:
        return self.key("managed-by")

    @cached_property
    def namespace(self) -> str:
        """Both a label of every host object and an annotation of host pods."""
        return self.key("namespace")

    @cached_property
    def object_name(self) -> str:
        return self.key("object-name")

    @cached_property
    def object_namespace(self) -> str:
        return self.key("object-namespace")

    @cached_property
    def object_uid(self) -> str:
        return self.key("object-uid")

    @cached_property
    def object_kind(self) -> str:
        return self.key("object-kind")

    @cached_property
    def host_name(self) -> str:
        return self.key("object-host-name")

    @cached_property
    def host_namespace(self) -> str:
        return self.key("object-host-namespace")

    @cached_property
    def managed_annotations(self) -> str:
        """Newline list of the annotations that came from the tenant."""
        return self.key("managed-annotations")

    @cached_property
    def managed_labels(self) -> str:
        """Newline list of the labels that came from the tenant."""
        return self.key("managed-labels")

    @cached_property
    def controlled_by(self) -> str:
        """An object that carries this, as label or annotation, is left alone."""
        return self.key("controlled-by")

    @cached_property
    def force_sync(self) -> str:
        return self.key("force-sync")

    @cached_property
    def block_deletion(self) -> str:
        """RFC 3339 time up to which a host object may be without its tenant object."""
        return self.key("block-deletion")

    def is_own(self, key: str) -> bool:
        return key.startswith(self.prefix + "/")


def safe_concat(*parts: str) -> str:
    """The parts joined by ``-``; what is too long is cut and ends in a digest of the whole."""
    joined = "-".join(parts)
    if len(joined) > LONGEST:
        digest = hashlib.sha256(joined.encode()).hexdigest()[:10]
        joined = f"{joined[:_KEPT]}-{digest}"
    return joined.replace(".-", "-")


def kind_text(resource: Resource) -> str:
    """``/v1, Kind=Pod``; ``apps/v1, Kind=Deployment``."""
    return f"{resource.group}/{resource.version}, Kind={resource.kind}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Mapping:
    """One tenant's objects on one host namespace."""

    tenant: str
    """The tenant's NAME."""
    host_namespace: str
    names: Names = Names()

    # -- names --

    def host_name(self, name: str, namespace: str) -> str:
        """The host name of a namespaced object; empty for an empty name."""
        return safe_concat(name, "x", namespace, "x", self.tenant) if name else ""

    def host_cluster_name(self, name: str) -> str:
        """The host name of a cluster-scoped object; empty for an empty name."""
        if not name:
            return ""
        return safe_concat(self.names.cluster_word, name, "x", self.host_namespace, "x", self.tenant)

    def host_name_of(self, tenant: Object, resource: Resource) -> str:
        name = objects.name(tenant)
        if not resource.namespaced:
            return self.host_cluster_name(name)
        return self.host_name(name, objects.namespace(tenant))

    @property
    def cluster_marker(self) -> str:
        """The marker label's value on cluster-scoped objects."""
        return safe_concat(self.host_namespace, "x", self.tenant)

    def marker(self, resource: Resource) -> str:
        return self.tenant if resource.namespaced else self.cluster_marker

    def marker_selector(self, resource: Resource) -> str:
        """The label selector of every host object of this tenant."""
        return f"{self.names.managed_by}={self.marker(resource)}"

    # -- labels --

    def label_key(self, key: str) -> str:
        """A tenant's label key on the host: its own, unless it could deceive the host or us."""
        if key == "release" or self.names.is_own(key):
            return safe_concat(self.names.key("label"), self.tenant, "x", _digest(key))
        return key

    def namespace_label_key(self, key: str) -> str:
        """A label of the tenant's Namespace, as its pods carry it on the host."""
        return safe_concat(self.names.key("ns-label"), self.tenant, "x", _digest(key))

    def annotation_key(self, key: str) -> str:
        """A tenant's annotation key on the host: our own are renamed, so that a tenant may hold tenants itself."""
        if self.names.is_own(key):
            return safe_concat(self.names.key("annotation"), self.tenant, "x", _digest(key))
        return key

    def labels(self, tenant_labels: Dict[str, str]) -> dict[str, str]:
        return {self.label_key(key): value for key, value in tenant_labels.items()}

    def identity_labels(self, tenant: Object, resource: Resource) -> dict[str, str]:
        """The labels by which host objects are found again."""
        found = {self.names.managed_by: self.marker(resource)}
        if resource.namespaced:
            found[self.names.namespace] = objects.namespace(tenant)
        return found

    def identity_annotations(self, tenant: Object, resource: Resource, host_name: str) -> dict[str, str]:
        """The annotations that say, and prove, whose copy a host object is."""
        names = self.names
        found = {
            names.object_name: objects.name(tenant),
            names.object_uid: objects.uid(tenant),
            names.object_kind: kind_text(resource),
            names.host_name: host_name,
        }
        if resource.namespaced:
            found[names.object_namespace] = objects.namespace(tenant)
            found[names.host_namespace] = self.host_namespace
        return found

    # -- the way back --

    def tenant_key(self, host: Object, resource: Resource) -> str | None:
        """The key of the tenant object that a host object is the copy of; None: it is none of ours.

        Everything the copy says about itself must be so: a copied or renamed object is not taken for ours.
        """
        names = self.names
        annotations, labels = objects.annotations(host), objects.labels(host)
        if labels.get(names.managed_by) != self.marker(resource):
            return None
        name = annotations.get(names.object_name)
        if not name or annotations.get(names.object_kind, kind_text(resource)) != kind_text(resource):
            return None
        actual, where = objects.name(host), objects.namespace(host)
        if annotations.get(names.host_name, actual) != actual:
            return None
        if not resource.namespaced:
            return name if self.host_cluster_name(name) == actual else None
        namespace = annotations.get(names.object_namespace, "")
        if where != self.host_namespace or annotations.get(names.host_namespace, where) != where:
            return None
        return f"{namespace}/{name}" if self.host_name(name, namespace) == actual else None

    def tenant_uid(self, host: Object) -> str:
        return objects.annotations(host).get(self.names.object_uid, "")

    # -- selectors --

    def label_selector(self, selector: Dict[str, Any]) -> dict[str, Any]:
        """A LabelSelector for the host copies of what it selects among the tenant's, in whichever namespace."""
        found: dict[str, Any] = {}
        if selector.get("matchLabels"):
            found["matchLabels"] = self.labels(selector["matchLabels"])
        if selector.get("matchExpressions"):
            found["matchExpressions"] = [
                {**each, "key": self.label_key(each["key"])} for each in selector["matchExpressions"]
            ]
        return found

    # -- what a tenant may read --

    def sanitise(self, text: str, host: str = "", tenant: str = "", namespace: str = "") -> str:
        """A host's message in the tenant's words.

        ``host`` and ``tenant`` are the two names of the object it is about (also right for names that were cut);
        ``namespace`` is the tenant's namespace, shown in place of the host's.
        """
        if host and tenant:
            text = text.replace(host, tenant)
        text = self._suffix.sub(r"\1", text)
        return self._where.sub(namespace or "default", text)

    @cached_property
    def _suffix(self) -> re.Pattern[str]:
        return re.compile(
            rf"([a-z0-9](?:[a-z0-9.-]*?[a-z0-9])?)-x-[a-z0-9][a-z0-9-]*?-x-{re.escape(self.tenant)}\b"
        )

    @cached_property
    def _where(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![a-z0-9.-]){re.escape(self.host_namespace)}(?![a-z0-9-])")
