"""Rules of roles and bindings."""

from __future__ import annotations

from typing import Any

from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill_empty, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported, required

_REFERENCE = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
GROUP = "rbac.authorization.k8s.io"


def policy_rules(rules: list[Object], *, namespaced: bool) -> Errors:
    for index, rule in enumerate(rules):
        where, urls = f"rules[{index}]", rule.get("nonResourceURLs") or ()
        groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
        if not rule.get("verbs"):
            yield required(f"{where}.verbs", "verbs must contain at least one value")
        if urls:
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{where}.nonResourceURLs", urls, detail)
            if groups or resources or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{where}.nonResourceURLs", urls, detail)
            continue
        if not groups:
            yield required(f"{where}.apiGroups", "resource rules must supply at least one api group")
        if not resources:
            yield required(f"{where}.resources", "resource rules must supply at least one resource")


def default_binding(binding: Object) -> None:
    reference = binding.setdefault("roleRef", {})
    fill_empty(reference, apiGroup=GROUP)
    for subject in binding.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("Group", "User"):
            subject["apiGroup"] = GROUP


def binding(obj: Object, roles: tuple[str, ...]) -> Errors:
    reference = obj.get("roleRef") or {}
    if reference.get("apiGroup") != GROUP:
        yield not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", [GROUP])
    if reference.get("kind") not in roles:
        yield not_supported("roleRef.kind", reference.get("kind") or "", roles)
    if not reference.get("name"):
        yield required("roleRef.name")
    else:
        yield from named("roleRef.name", reference["name"], names.path_segment)
    for index, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject(f"subjects[{index}]", subject, namespaced=roles != ("ClusterRole",))


def _subject(path: str, subject: Object, *, namespaced: bool) -> Errors:
    kind, group, name = subject.get("kind"), subject.get("apiGroup") or "", subject.get("name") or ""
    if not name:
        yield required(f"{path}.name")
    if kind == "ServiceAccount":
        if name:
            yield from named(f"{path}.name", name, names.dns1123_subdomain)
        if group:
            yield not_supported(f"{path}.apiGroup", group, [""])
        if not namespaced and not subject.get("namespace"):
            yield required(f"{path}.namespace")
    elif kind in ("Group", "User"):
        if not name:
            yield invalid(f"{path}.name", name, f"{kind.lower()} name cannot be empty")
        if group != GROUP:
            yield not_supported(f"{path}.apiGroup", group, [GROUP])
    else:
        yield not_supported(f"{path}.kind", kind or "", ("ServiceAccount", "User", "Group"))


def binding_update(new: Object, old: Object) -> Errors:
    now, then = new.get("roleRef") or {}, old.get("roleRef") or {}
    if now != then:
        shown = {name: now.get(key) or "" for name, key in _REFERENCE}
        yield invalid("roleRef", shown, "cannot change roleRef")


def binding_cells(obj: Object, now: float) -> list[Any]:
    reference = obj.get("roleRef") or {}
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = str(subject.get("name") or "")
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace') or ''}/{name}"
        found.setdefault(str(subject.get("kind")), []).append(name)
    return [
        show.name(obj),
        f"{reference.get('kind')}/{reference.get('name')}",
        show.age(obj, now),
        *(", ".join(found[kind]) for kind in ("User", "Group", "ServiceAccount")),
    ]
