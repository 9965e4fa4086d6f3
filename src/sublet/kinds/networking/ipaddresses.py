"""IPAddress: one address of a ServiceCIDR in use; its name is the address."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, show
from sublet.kinds.rules.common import Errors, immutable, named, needs, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import required


def _validate(obj: Object) -> Errors:
    parent = spec_of(obj).get("parentRef")
    if parent is None:
        yield required("spec.parentRef")
        return
    if group := parent.get("group"):
        yield from named("spec.parentRef.group", group, names.dns1123_subdomain)
    for field in ("resource", "name"):
        yield from needs(f"spec.parentRef.{field}", parent.get(field), names.path_segment)
    if namespace := parent.get("namespace"):
        yield from named("spec.parentRef.namespace", namespace, names.path_segment)


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = (gotypes.shown("ParentReference", spec_of(obj).get("parentRef") or {}) for obj in (new, old))
    yield from immutable("spec.parentRef", now, then)


def _validate_name(name: str, _prefix: bool) -> list[str]:
    return names.canonical_ip_address(name)


def _cells(obj: Object, _now: float) -> list[Any]:
    parent = spec_of(obj).get("parentRef") or {}
    where = [parent.get("resource"), parent.get("namespace"), parent.get("name")]
    resource = f"{where[0]}.{parent['group']}".lower() if parent.get("group") else where[0]
    return [show.name(obj), "/".join(filter(None, [resource, *where[1:]])) or show.NONE]


KIND = builtin(
    "ipaddresses.networking.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    validate_name=_validate_name,
    cells=_cells,
)
