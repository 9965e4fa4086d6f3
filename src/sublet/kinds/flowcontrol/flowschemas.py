"""FlowSchema."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, needs, one_of, rule, spec_of, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.objects import condition
from sublet.machinery.status import invalid, required

_MAX_PRECEDENCE = 10_000
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    precedence = spec.get("matchingPrecedence") or 0
    yield from within("spec.matchingPrecedence", precedence, 1, _MAX_PRECEDENCE)
    if precedence == 1 and show.name(obj) != "exempt":
        yield invalid(
            "spec.matchingPrecedence",
            precedence,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        )
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    yield from needs("spec.priorityLevelConfiguration.name", level, names.dns1123_subdomain)
    if (method := spec.get("distinguisherMethod")) is not None:
        yield from one_of(
            "spec.distinguisherMethod.type", method.get("type"), ("ByNamespace", "ByUser"), needed=True
        )
    for index, entry in enumerate(spec.get("rules") or ()):
        yield from _rule(f"spec.rules[{index}]", entry)


def _rule(path: str, entry: Object) -> Errors:
    if not entry.get("subjects"):
        yield required(f"{path}.subjects", "subjects must contain at least one value")
    for index, subject in enumerate(entry.get("subjects") or ()):
        where, kind = f"{path}.subjects[{index}]", subject.get("kind")
        yield from one_of(f"{where}.kind", kind, tuple(_SUBJECTS), needed=True)
        field = _SUBJECTS.get(str(kind))
        if field is not None and subject.get(field) is None:
            yield required(f"{where}.{field}", f"{field} is required when subject kind is '{kind}'")
    resources, urls = entry.get("resourceRules") or (), entry.get("nonResourceRules") or ()
    if not resources and not urls:
        yield required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, found in enumerate(resources):
        for field in ("verbs", "apiGroups", "resources"):
            if not found.get(field):
                what = f"{field} must contain at least one value"
                yield required(f"{path}.resourceRules[{index}].{field}", what)
        if not found.get("clusterScope") and not found.get("namespaces"):
            what = "resource rules that are not cluster scoped must supply at least one namespace"
            yield required(f"{path}.resourceRules[{index}].namespaces", what)
    for index, found in enumerate(urls):
        for field in ("verbs", "nonResourceURLs"):
            if not found.get(field):
                what = f"{field} must contain at least one value"
                yield required(f"{path}.nonResourceRules[{index}].{field}", what)


def _order(obj: Object) -> tuple[int, str]:
    """As requests are matched against them."""
    return spec_of(obj).get("matchingPrecedence") or 0, show.name(obj)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    dangling = condition(obj, "Dangling")
    return [
        show.name(obj),
        (spec.get("priorityLevelConfiguration") or {}).get("name") or "",
        spec.get("matchingPrecedence") or 0,
        (spec.get("distinguisherMethod") or {}).get("type") or show.NONE,
        show.age(obj, now),
        "?" if dangling is None else str(dangling.get("status")),
    ]


KIND = builtin(
    "flowschemas.flowcontrol.apiserver.k8s.io",
    default=_default,
    validate=rule(_validate),
    cells=_cells,
    row_order=_order,
)
