"""APIService."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import (
    Errors,
    decoded_length,
    fill,
    name_rule,
    named,
    rule,
    spec_of,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import CREATED_TEXT, NAME_TEXT, Column, Object
from sublet.machinery.objects import condition, name, rfc3339
from sublet.machinery.status import invalid, not_supported, required

_MAX_GROUP_PRIORITY, _MAX_VERSION_PRIORITY = 20_000, 1_000
LOCAL = {
    "type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available",
}  # fmt: skip
_STATUSES = ("True", "False", "Unknown")


def _default(obj: Object) -> None:
    service = spec_of(obj).get("service")
    if service is not None:
        fill(service, port=443)


def _stamp(new: Object, old: Object | None, now: float) -> None:
    """What this server answers itself is there at once."""
    if old is None and spec_of(new).get("service") is None:
        new["status"] = {"conditions": [{**LOCAL, "lastTransitionTime": rfc3339(now)}]}


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    group, version = spec.get("group") or "", spec.get("version") or ""
    wanted = f"{version}.{group}"
    if name(obj) != wanted and not names.path_segment(name(obj)):
        yield invalid("metadata.name", name(obj), f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if group:
        yield from named("spec.group", group, names.dns1123_subdomain)
    elif version != "v1":
        yield required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    yield from named("spec.version", version, names.dns1035_label)
    for field, most in (
        ("groupPriorityMinimum", _MAX_GROUP_PRIORITY),
        ("versionPriority", _MAX_VERSION_PRIORITY),
    ):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            yield invalid(f"spec.{field}", value, f"must be positive and less than {most}")
    service = spec.get("service")
    if service is None:
        if bundle := spec.get("caBundle"):
            shown = f"{decoded_length(bundle)} bytes"
            yield invalid("spec.caBundle", shown, "local APIServices may not have a caBundle")
        if spec.get("insecureSkipTLSVerify"):
            detail = "local APIServices may not have insecureSkipTLSVerify"
            yield invalid("spec.insecureSkipTLSVerify", True, detail)
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            yield required(f"spec.service.{field}")
    for text in names.port_number(port := service.get("port") or 0):
        yield invalid("spec.service.port", port, f"port is not valid: {text}")
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        yield invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")


def _validate_status(new: Object, _old: Object) -> Errors:
    for index, found in enumerate((new.get("status") or {}).get("conditions") or ()):
        if (status := found.get("status") or "") not in _STATUSES:
            yield not_supported(f"status.conditions[{index}].status", status, _STATUSES)


def _cells(obj: Object, now: float) -> list[Any]:
    service = spec_of(obj).get("service")
    available = condition(obj, "Available") or {}
    text = str(available.get("status") or "Unknown")
    if text != "True" and available.get("reason"):
        text += f" ({available['reason']})"
    where = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    return [show.name(obj), where, text, show.age(obj, now)]


KIND = builtin(
    "apiservices.apiregistration.k8s.io",
    default=_default,
    stamp=_stamp,
    validate=rule(_validate),
    validate_status=update_rule(_validate_status),
    validate_name=name_rule(names.path_segment),
    columns=(
        Column("Name", format="name", description=NAME_TEXT),
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        Column("Age", description=CREATED_TEXT),
    ),
    cells=_cells,
)
