"""Rules of priority and fairness: who matches a flow schema, and the objects that nobody may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.kinds.rules.common import Errors, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required

_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "

_EVERYTHING = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _group(name: str) -> Object:
    return {"kind": "Group", "group": {"name": name}}


SCHEMAS: Mapping[str, Object] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [{"subjects": [_group("system:masters")], **_EVERYTHING}],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": 10000,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [_group(f"system:{who}") for who in ("unauthenticated", "authenticated")],
                **_EVERYTHING,
            }
        ],
    },
}
"""Name of a mandatory FlowSchema -> its spec."""
LEVELS: Mapping[str, Object] = {
    "exempt": {"type": "Exempt"},
    "catch-all": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
    },
}
"""Name of a mandatory PriorityLevelConfiguration -> its spec; the exempt one's shares are free."""


def stated(value: Any) -> Any:
    """A value without what is absent or empty in it, as objects are compared."""
    if isinstance(value, dict):
        kept = {key: stated(found) for key, found in value.items()}
        return {key: found for key, found in kept.items() if found not in (None, "", [], False)}
    return [stated(item) for item in value] if isinstance(value, list) else value


def rule(path: str, entry: Object) -> Errors:
    """One rule of a FlowSchema: its subjects and what they ask for."""
    if not entry.get("subjects"):
        yield required(f"{path}.subjects", "subjects must contain at least one value")
    for index, subject in enumerate(entry.get("subjects") or ()):
        yield from _subject(f"{path}.subjects[{index}]", subject)
    resources, urls = entry.get("resourceRules") or (), entry.get("nonResourceRules") or ()
    if not resources and not urls:
        yield required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, found in enumerate(resources):
        yield from _resources(f"{path}.resourceRules[{index}]", found)
    for index, found in enumerate(urls):
        yield from _urls(f"{path}.nonResourceRules[{index}]", found)


def _subject(path: str, subject: Object) -> Errors:
    kind = subject.get("kind") or ""
    field = _SUBJECTS.get(kind)
    if field is None:
        yield not_supported(f"{path}.kind", kind, sorted(_SUBJECTS))
        return
    found = subject.get(field)
    if found is None:
        yield required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'")
    else:
        yield from _who(f"{path}.{field}", kind, found)
    for other_kind, other in _SUBJECTS.items():
        if other != field and subject.get(other) is not None:
            yield field_forbidden(
                f"{path}.{other}", f"{other} is forbidden when subject kind is not '{other_kind}'"
            )


def _who(path: str, kind: str, found: Object) -> Errors:
    name, namespace = found.get("name") or "", found.get("namespace") or ""
    if not name:
        yield required(f"{path}.name")
    if kind != "ServiceAccount":
        return
    if name and name != "*":
        yield from named(f"{path}.name", name, names.dns1123_subdomain)
    if namespace:
        yield from named(f"{path}.namespace", namespace, names.dns1123_label)
    else:
        yield required(f"{path}.namespace", "must specify namespace for service account")


def _all_or_some(path: str, values: list[str], what: str) -> Errors:
    """``*`` stands alone."""
    if "*" in values and len(values) > 1:
        yield invalid(path, values, f"if '*' is present, must not specify other {what}")


def _verbs(path: str, verbs: list[str]) -> Errors:
    if not verbs:
        yield required(path, "verbs must contain at least one value")
    elif "*" in verbs:
        yield from _all_or_some(path, verbs, "verbs")
    elif not set(verbs) <= set(_VERBS):
        yield not_supported(path, verbs, _VERBS)


def _resources(path: str, found: Object) -> Errors:
    yield from _verbs(f"{path}.verbs", found.get("verbs") or [])
    for field, one, many in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        if not found.get(field):
            yield required(f"{path}.{field}", f"resource rules must supply at least one {one}")
        yield from _all_or_some(f"{path}.{field}", found.get(field) or [], many)
    where, namespaces = f"{path}.namespaces", found.get("namespaces") or []
    if not namespaces and not found.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(where, detail)
    yield from _all_or_some(where, namespaces, "namespaces")
    for index, namespace in enumerate(namespaces if "*" not in namespaces else ()):
        for text in names.dns1123_label(namespace):
            yield invalid(f"{where}[{index}]", namespace, f"{_NAMESPACE}{text}")


def _urls(path: str, found: Object) -> Errors:
    yield from _verbs(f"{path}.verbs", found.get("verbs") or [])
    where, urls = f"{path}.nonResourceURLs", found.get("nonResourceURLs") or []
    if not urls:
        yield required(where, "nonResourceURLs must contain at least one value")
    yield from _all_or_some(where, urls, "non-resource URLs")
    for index, url in enumerate(urls if "*" not in urls else ()):
        if wrong := _url(url):
            yield invalid(f"{where}[{index}]", url, wrong)


def _url(url: str) -> str:
    """What is wrong with a path; its first fault only."""
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if "*" in url and (url.count("*") > 1 or not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def conditions(obj: Object) -> Errors:
    """Of an object of either kind."""
    seen: set[str] = set()
    for index, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        path, kind = f"status.conditions[{index}].type", condition.get("type") or ""
        if kind in seen:
            yield duplicate(path, kind)
        seen.add(kind)
        if not kind:
            yield required(path, "must not be empty")
