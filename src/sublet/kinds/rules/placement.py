"""Rules of where pods may go: tolerations, affinity, topology spread, node selectors."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules.common import Errors, label_selector, label_value, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_TWICE = "exists in both matchLabelKeys and labelSelector"


def tolerations(path: str, found: Sequence[Object]) -> Errors:
    for index, toleration in enumerate(found):
        where = f"{path}[{index}]"
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        effect, value = toleration.get("effect") or "", toleration.get("value") or ""
        if key:
            yield from named(f"{where}.key", key, names.qualified_name)
        elif operator != "Exists":
            detail = (
                'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            )
            yield invalid(f"{where}.operator", operator, detail)
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(f"{where}.effect", effect, detail)
        if operator in ("", "Equal"):
            yield from label_value(f"{where}.operator", value)
        elif operator == "Exists":
            if value:
                yield invalid(f"{where}.operator", value, "value must be empty when `operator` is 'Exists'")
        else:
            yield not_supported(f"{where}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in TAINT_EFFECTS:
            yield not_supported(f"{where}.effect", effect, TAINT_EFFECTS)


def affinity(path: str, found: Object | None) -> Errors:
    if not found:
        return
    if node := found.get("nodeAffinity"):
        yield from _node_affinity(f"{path}.nodeAffinity", node)
    for kind in ("podAffinity", "podAntiAffinity"):
        if pods := found.get(kind):
            yield from _pod_affinity(f"{path}.{kind}", pods)


def _node_affinity(path: str, found: Object) -> Errors:
    if (selector := found.get(_REQUIRED)) is not None:
        yield from node_selector(f"{path}.{_REQUIRED}", selector)
    for index, preference in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(where, preference)
        # A preference for a label that no node can have has always been let pass.
        yield from node_selector_term(f"{where}.preference", preference.get("preference") or {}, values=False)


def _weight(path: str, found: Object) -> Errors:
    weight = found.get("weight") or 0
    if not 1 <= weight <= 100:
        yield invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _pod_affinity(path: str, found: Object) -> Errors:
    for index, term in enumerate(found.get(_REQUIRED) or ()):
        yield from _pod_affinity_term(f"{path}.{_REQUIRED}[{index}]", term)
    for index, weighted in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(where, weighted)
        yield from _pod_affinity_term(f"{where}.podAffinityTerm", weighted.get("podAffinityTerm") or {})


def _pod_affinity_term(path: str, term: Object) -> Errors:
    yield from label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    yield from label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for namespace in term.get("namespaces") or ():
        yield from named(f"{path}.namespace", namespace, names.dns1123_label)
    yield from _label_keys(path, term)
    topology = term.get("topologyKey") or ""
    if not topology:
        yield required(f"{path}.topologyKey", "can not be empty")
    yield from named(f"{path}.topologyKey", topology, names.qualified_name)


def _label_keys(path: str, term: Object) -> Errors:
    """``matchLabelKeys`` and ``mismatchLabelKeys``, which were merged into the selector when the pod was made."""
    selector = term.get("labelSelector")
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            yield field_forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")
            continue
        for index, key in enumerate(keys):
            yield from named(f"{path}.{field}[{index}]", key, names.qualified_name)
    if selector is not None:
        seen = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in match and key in seen:
                yield invalid(f"{path}[{match.index(key)}]", key, _TWICE)
            seen.add(key)
    for index, key in enumerate(match):
        if key in mismatch:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid(f"{path}.matchLabelKeys[{index}]", key, detail)


def node_selector(path: str, selector: Object) -> Errors:
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from node_selector_term(f"{path}.nodeSelectorTerms[{index}]", term)


def node_selector_term(path: str, term: Object, *, values: bool = True) -> Errors:
    """``values``: whether what labels are compared with must be possible values of labels."""
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        yield from _node_requirement(where, requirement)
        yield from named(f"{where}.key", requirement.get("key") or "", names.qualified_name)
        for number, value in enumerate((requirement.get("values") or ()) if values else ()):
            yield from named(f"{where}.values[{number}]", value, names.label_value)
    for index, requirement in enumerate(term.get("matchFields") or ()):
        yield from _field_requirement(f"{path}.matchFields[{index}]", requirement)


def _field_requirement(path: str, requirement: Object) -> Errors:
    operator, key = requirement.get("operator") or "", requirement.get("key") or ""
    values = requirement.get("values") or ()
    if operator not in ("In", "NotIn"):
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield required(f"{path}.values", detail)
    if key != "metadata.name":
        yield invalid(f"{path}.key", key, "not a valid field selector key")
        return
    for index, value in enumerate(values):
        yield from named(f"{path}.values[{index}]", value, names.dns1123_subdomain)


def _node_requirement(path: str, requirement: Object) -> Errors:
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field_forbidden(f"{path}.values", detail)
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")


def topology_spread(path: str, found: Sequence[Object]) -> Errors:
    pairs = [(c.get("topologyKey") or "", c.get("whenUnsatisfiable") or "") for c in found]
    for index, constraint in enumerate(found):
        where, (topology, action) = f"{path}[{index}]", pairs[index]
        skew = constraint.get("maxSkew") or 0
        if skew <= 0:
            yield invalid(f"{where}.maxSkew", skew, "must be greater than zero")
        if not topology:
            yield required(f"{where}.topologyKey", "can not be empty")
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            yield not_supported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if pairs[index] in pairs[index + 1 :]:
            yield duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{topology}, {action}}}")
        yield from _spread_details(where, constraint, action)


def _spread_details(path: str, constraint: Object, action: str) -> Errors:
    domains = constraint.get("minDomains")
    if domains is not None:
        if domains <= 0:
            yield invalid(f"{path}.minDomains", domains, "must be greater than zero")
        if action != "DoNotSchedule":
            detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            yield invalid(f"{path}.minDomains", domains, detail)
    for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        chosen = constraint.get(policy)
        if chosen is not None and chosen not in ("Honor", "Ignore"):
            yield not_supported(f"{path}.{policy}", chosen, ("Honor", "Ignore"))
    selector, keys = constraint.get("labelSelector"), constraint.get("matchLabelKeys") or ()
    selected = set((selector or {}).get("matchLabels") or ())
    selected |= {e.get("key") for e in (selector or {}).get("matchExpressions") or ()}
    if keys and selector is None:
        yield field_forbidden(f"{path}.matchLabelKeys", "must not be specified when labelSelector is not set")
    for index, key in enumerate(keys):
        yield from named(f"{path}.matchLabelKeys[{index}]", key, names.qualified_name)
        if key in selected:
            yield invalid(f"{path}.matchLabelKeys[{index}]", key, _TWICE)
    yield from label_selector(f"{path}.labelSelector", selector)
