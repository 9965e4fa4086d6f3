"""APIService."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, named, needs, rule, spec_of
from sublet.machinery import names
from sublet.machinery.kind import Column, Object
from sublet.machinery.objects import condition, name
from sublet.machinery.status import field_forbidden, invalid, required

_MAX_GROUP_PRIORITY, _MAX_VERSION_PRIORITY = 20_000, 1_000


def _default(obj: Object) -> None:
    service = spec_of(obj).get("service")
    if service is not None:
        fill(service, port=443)


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    group, version = spec.get("group") or "", spec.get("version") or ""
    wanted = f"{version}.{group}"
    if name(obj) != wanted:
        yield invalid("metadata.name", name(obj), f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if group:
        yield from named("spec.group", group, names.dns1123_subdomain)
    yield from needs("spec.version", version, names.dns1035_label)
    for field, most in (
        ("groupPriorityMinimum", _MAX_GROUP_PRIORITY),
        ("versionPriority", _MAX_VERSION_PRIORITY),
    ):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            yield invalid(f"spec.{field}", value, f"must be positive and less than {most}")
    service = spec.get("service")
    if service is None:
        for field in ("caBundle", "insecureSkipTLSVerify"):
            if spec.get(field):
                yield invalid(f"spec.{field}", spec[field], "local APIServices may not have a " + field)
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            yield required(f"spec.service.{field}")
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        yield field_forbidden("spec.insecureSkipTLSVerify", "may not be true if caBundle is present")


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
    validate=rule(_validate),
    columns=(Column("Name", format="name"), Column("Service"), Column("Available"), Column("Age")),
    cells=_cells,
)
