"""Node."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, show, warn
from sublet.kinds.rules.common import Errors, named, needs, one_of, rule, spec_of, update_rule
from sublet.kinds.rules.placement import TAINT_EFFECTS
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.objects import condition, labels
from sublet.machinery.status import duplicate, field_forbidden

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _default(node: Object) -> None:
    status = node.get("status")
    if isinstance(status, dict) and status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])


def _prepare_status(new: Object, old: Object) -> None:
    """Whoever reports on a node may label it too, but not change its spec."""
    if "spec" in old:
        new["spec"] = old["spec"]
    else:
        new.pop("spec", None)


def _validate(node: Object) -> Errors:
    spec = spec_of(node)
    seen = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        where = f"spec.taints[{index}]"
        yield from needs(f"{where}.key", taint.get("key"), names.qualified_name)
        yield from named(f"{where}.value", taint.get("value") or "", names.label_value)
        yield from one_of(f"{where}.effect", taint.get("effect"), TAINT_EFFECTS, needed=True)
        key = (taint.get("key"), taint.get("effect"))
        if key in seen:
            yield duplicate(where, taint)
        seen.add(key)
    for index, cidr in enumerate(spec.get("podCIDRs") or ()):
        yield from named(f"spec.podCIDRs[{index}]", cidr, names.cidr)
    for kind in ("capacity", "allocatable"):
        for name, value in ((node.get("status") or {}).get(kind) or {}).items():
            yield from amounts.amount(f"status.{kind}[{name}]", name, value)


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    for field in ("providerID", "podCIDR", "podCIDRs"):
        if before.get(field) and spec.get(field) != before[field]:
            shown = "podCIDRs" if field.startswith("podCIDR") else field
            yield field_forbidden(
                f"spec.{shown}",
                "node updates may not change "
                + (
                    'providerID except from "" to valid'
                    if field == "providerID"
                    else 'podCIDR except from "" to valid'
                ),
            )
            return


def _status_text(node: Object) -> str:
    ready = condition(node, "Ready")
    parts = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if spec_of(node).get("unschedulable"):
        parts.append("SchedulingDisabled")
    return ",".join(parts)


def _roles(node: Object) -> str:
    found = set()
    for key, value in labels(node).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            found.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            found.add(value)
    return ",".join(sorted(found)) or show.NONE


def _address(node: Object, kind: str) -> str:
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == kind:
            return str(address.get("address"))
    return show.NONE


def _cells(node: Object, now: float) -> list[Any]:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return [
        show.name(node),
        _status_text(node),
        _roles(node),
        show.age(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or show.UNKNOWN,
        info.get("kernelVersion") or show.UNKNOWN,
        info.get("containerRuntimeVersion") or show.UNKNOWN,
    ]


KIND = builtin(
    "nodes",
    keeps_status=True,
    default=_default,
    prepare_status=_prepare_status,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.node,
    cells=_cells,
    selectable={"spec.unschedulable": lambda node: "true" if spec_of(node).get("unschedulable") else "false"},
)
