"""References to fields and resources of the pod itself: in the environment and in volumes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sublet.kinds.rules.common import Errors, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported, required

VOLUME_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
ENVIRONMENT_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_FIELDS = frozenset(
    (*VOLUME_FIELDS, *ENVIRONMENT_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase")
)
_RESOURCES = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_HUGEPAGES = ("requests.hugepages-", "limits.hugepages-")
_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_CALLED = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}
_subscripted = re.compile(r"(.+)\['(.*)'\]", re.DOTALL).fullmatch


def field_reference(path: str, reference: Object, supported: Sequence[str]) -> Errors:
    """A ``fieldRef``; labels and annotations may be named one by one."""
    version, field = reference.get("apiVersion") or "", reference.get("fieldPath") or ""
    if not version:
        yield required(f"{path}.apiVersion")
        return
    if not field:
        yield required(f"{path}.fieldPath")
        return
    part = _subscripted(field)
    why = _not_a_field(version, field, part and part[1])
    if why:
        yield invalid(f"{path}.fieldPath", field, f"error converting fieldPath: {why}")
    elif part:
        key = part[2].lower() if part[1] == "metadata.annotations" else part[2]
        yield from named(path, key, names.qualified_name)
    else:
        field = "spec.nodeName" if field == "spec.host" else field
        if field not in supported:
            yield not_supported(f"{path}.fieldPath", field, supported)


def _not_a_field(version: str, field: str, whole: str | None) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    if whole is not None:
        wrong = whole not in ("metadata.annotations", "metadata.labels")
        return f"field label does not support subscript: {field}" if wrong else ""
    known = field in _FIELDS or field == "spec.host"
    return "" if known else f"field label not supported: {field}"


def resource_reference(path: str, reference: Object, *, in_volume: bool) -> Errors:
    resource = reference.get("resource") or ""
    if in_volume and not reference.get("containerName"):
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in _RESOURCES and not resource.startswith(_HUGEPAGES):
        yield not_supported(f"{path}.resource", resource, _RESOURCES)
    divisor = reference.get("divisor")
    if divisor not in (None, "0"):
        yield from _divisor(f"{path}.divisor", resource, divisor)


def _divisor(path: str, resource: str, divisor: str) -> Errors:
    name = resource.partition(".")[2] if resource in _RESOURCES else ""
    if name == "cpu":
        if divisor not in ("1m", "1"):
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            yield invalid(path, resource, detail)
        return
    called = _CALLED.get(name) or ("hugepages" if resource.startswith(_HUGEPAGES) else "")
    if called and divisor not in _DIVISORS:
        listed = ", ".join(_DIVISORS)
        detail = f"only divisor's values {listed} are supported with the {called} resource"
        yield invalid(path, resource, detail)
