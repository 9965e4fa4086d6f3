"""Rules of admission policies and of what binds them: what they match, what they judge by."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules.common import (
    Errors,
    fill,
    label_selector,
    named,
    needs,
    one_of,
    spec_of,
)
from sublet.kinds.rules.webhooks import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    match_conditions,
    rule_with_operations,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.selectors import go_text
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required

_RULES = ("resourceRules", "excludeResourceRules")
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")


def default_match_resources(found: Object | None) -> None:
    if found is None:
        return
    fill(found, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
    for field in _RULES:
        for entry in found.get(field) or ():
            fill(entry, scope="*")


def _match_resources(path: str, found: Object) -> Errors:
    yield from one_of(f"{path}.matchPolicy", found.get("matchPolicy"), MATCH_POLICIES, needed=True)
    for field in ("namespaceSelector", "objectSelector"):
        if found.get(field) is None:
            yield required(f"{path}.{field}")
        else:
            yield from label_selector(f"{path}.{field}", found[field])
    for field in _RULES:
        for index, entry in enumerate(found.get(field) or ()):
            where = f"{path}.{field}[{index}]"
            yield from _resource_names(f"{where}.resourceNames", entry.get("resourceNames") or ())
            yield from rule_with_operations(where, entry)


def _resource_names(path: str, found: Sequence[str]) -> Errors:
    for index, name in enumerate(found):
        yield from named(f"{path}[{index}]", name, names.path_segment)
        if name in found[:index]:
            yield duplicate(f"{path}[{index}]", name)


def _only_mutable(path: str, found: Object) -> Errors:
    """What is deleted cannot be changed."""
    for entry in found.get("resourceRules") or ():
        for operation in entry.get("operations") or ():
            if operation not in _MUTABLE:
                yield not_supported(f"{path}.resourceRules.operations", operation, _MUTABLE)


def policy(spec: Object, before: Object | None, *, mutating: bool) -> Errors:
    """What both kinds of admission policies have in common; ``before``: the stored spec, if any."""
    yield from one_of("spec.failurePolicy", spec.get("failurePolicy"), FAILURE_POLICIES, needed=True)
    if (kind := spec.get("paramKind")) is not None:
        yield from _kind("spec.paramKind", kind)
    where, matched = "spec.matchConstraints", spec.get("matchConstraints")
    if matched is None:
        yield required(where)
    else:
        yield from _match_resources(where, matched)
        if not matched.get("resourceRules"):
            yield required(f"{where}.resourceRules")
        if mutating:
            yield from _only_mutable(where, matched)
    conditions = spec.get("matchConditions") or ()
    if before is None or any((spec.get(f) or None) != (before.get(f) or None) for f in _ABOUT_CONDITIONS):
        yield from match_conditions("spec.matchConditions", conditions)
    for index, variable in enumerate(spec.get("variables") or ()):
        where, name = f"spec.variables[{index}]", variable.get("name") or ""
        if not name.strip():
            yield required(f"{where}.name", "name is not specified")
        elif names.c_identifier(name) or name in names.CEL_WORDS:
            yield invalid(f"{where}.name", name, "name is not a valid CEL identifier")
        if not str(variable.get("expression") or "").strip():
            yield required(f"{where}.expression", "expression is not specified")


_ABOUT_CONDITIONS = ("paramKind", "matchConditions")


def _kind(path: str, kind: Object) -> Errors:
    text, called = kind.get("apiVersion") or "", kind.get("kind") or ""
    if not text:
        yield required(f"{path}.apiVersion")
    elif text.count("/") > 1:
        yield invalid(f"{path}.apiVersion", text, f"unexpected GroupVersion string: {text}")
    else:
        group, slash, version = text.partition("/")
        if not slash:
            group, version = "", text
        if group and (wrong := names.dns1123_subdomain(group)):
            yield invalid(f"{path}.apiVersion", group, ",".join(wrong))
        if not version:
            yield invalid(f"{path}.apiVersion", text, "version must be specified")
        elif wrong := names.dns1035_label(version):
            yield invalid(f"{path}.apiVersion", version, ",".join(wrong))
    if not called:
        yield required(f"{path}.kind")
    elif wrong := names.dns1035_label(called.lower()):
        detail = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
        yield invalid(f"{path}.kind", called, detail)


def binding(obj: Object, *, mutating: bool) -> Errors:
    """What both kinds of policy bindings have in common."""
    spec = spec_of(obj)
    yield from needs("spec.policyName", spec.get("policyName"), names.dns1123_subdomain)
    if (reference := spec.get("paramRef")) is not None:
        yield from _reference("spec.paramRef", reference)
    if (matched := spec.get("matchResources")) is not None:
        yield from _match_resources("spec.matchResources", matched)
        if mutating:
            yield from _only_mutable("spec.matchResources", matched)


def _reference(path: str, reference: Object) -> Errors:
    name, selector = reference.get("name"), reference.get("selector")
    if name:
        yield from named(f"{path}.name", name, names.path_segment)
        if selector is not None:
            yield field_forbidden(f"{path}.name", "name and selector are mutually exclusive")
    yield from label_selector(f"{path}.selector", selector)
    if name and selector is not None:
        yield field_forbidden(f"{path}.selector", "name and selector are mutually exclusive")
    if not name and selector is None:
        yield required(path, "one of name or selector must be specified")
    action = reference.get("parameterNotFoundAction")
    yield from one_of(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"), needed=True)


def kind_text(kind: Object | None) -> str:
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else "<unset>"


def reference_text(reference: Object | None) -> str:
    if not reference:
        return "<unset>"
    if reference.get("name"):
        where = reference.get("namespace")
        return f"{where or '*'}/{reference['name']}"
    selector = reference.get("selector")
    return "<unset>" if selector is None else go_text(selector)
