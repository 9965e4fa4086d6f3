"""Rules of where pods may go: tolerations, affinity, topology spread, node selectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sublet.kinds.rules.common import Errors, label_selector, label_value, named
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_OF_PODS = ("podAffinity", "podAntiAffinity")
_OPERATORS = ("Equal", "Exists")
_COMPARING = ("Lt", "Gt")
_TWICE = "exists in both matchLabelKeys and labelSelector"


def tolerations(path: str, found: Sequence[Object], allowed: Allowances = NEW) -> Errors:
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
        elif operator in _COMPARING and allowed.comparisons:
            yield from named(f"{where}.value", value, names.decimal_integer)
        else:
            supported = (*_OPERATORS, *_COMPARING) if operator in _COMPARING else _OPERATORS
            yield not_supported(f"{where}.operator", operator, supported)
        if effect and effect not in TAINT_EFFECTS:
            yield not_supported(f"{where}.effect", effect, TAINT_EFFECTS)


def affinity(path: str, found: Object | None, allowed: Allowances = NEW) -> Errors:
    if not found:
        return
    if node := found.get("nodeAffinity"):
        yield from _node_affinity(f"{path}.nodeAffinity", node, values=not allowed.node_values)
    for kind in _OF_PODS:
        if pods := found.get(kind):
            yield from _pod_affinity(f"{path}.{kind}", pods, values=not allowed.affinity_values)


def pod_terms(spec: Object) -> Iterator[Object]:
    """The terms of affinity and anti-affinity to pods of a pod's spec, required and preferred."""
    for kind in _OF_PODS:
        rules = (spec.get("affinity") or {}).get(kind) or {}
        for weighted in rules.get(_PREFERRED) or ():
            yield weighted.get("podAffinityTerm") or {}
        yield from rules.get(_REQUIRED) or ()


def node_requirements(spec: Object) -> Iterator[Object]:
    """What a pod's spec requires of its node's labels."""
    selector = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    for term in selector.get("nodeSelectorTerms") or ():
        yield from term.get("matchExpressions") or ()


def _node_affinity(path: str, found: Object, *, values: bool) -> Errors:
    if (selector := found.get(_REQUIRED)) is not None:
        yield from node_selector(f"{path}.{_REQUIRED}", selector, values=values)
    for index, preference in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(where, preference)
        # A preference for a label that no node can have has always been let pass.
        yield from node_selector_term(f"{where}.preference", preference.get("preference") or {}, values=False)


def _weight(path: str, found: Object) -> Errors:
    weight = found.get("weight") or 0
    if not 1 <= weight <= 100:
        yield invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _pod_affinity(path: str, found: Object, *, values: bool) -> Errors:
    for index, term in enumerate(found.get(_REQUIRED) or ()):
        yield from _pod_affinity_term(f"{path}.{_REQUIRED}[{index}]", term, values=values)
    for index, weighted in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(where, weighted)
        term = weighted.get("podAffinityTerm") or {}
        yield from _pod_affinity_term(f"{where}.podAffinityTerm", term, values=values)


def term_selectors(path: str, term: Object, *, values: bool = True) -> Errors:
    """The selectors of a term of affinity to pods; ``values``: whether what they list is judged."""
    for field in ("labelSelector", "namespaceSelector"):
        yield from label_selector(f"{path}.{field}", term.get(field), values=values)


def _pod_affinity_term(path: str, term: Object, *, values: bool) -> Errors:
    yield from term_selectors(path, term, values=values)
    for namespace in term.get("namespaces") or ():
        yield from named(f"{path}.namespace", namespace, names.dns1123_label)
    yield from label_keys(path, term)
    topology = term.get("topologyKey") or ""
    if not topology:
        yield required(f"{path}.topologyKey", "can not be empty")
    yield from named(f"{path}.topologyKey", topology, names.qualified_name)


def label_keys(path: str, term: Object) -> Errors:
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
                last = len(match) - 1 - match[::-1].index(key)
                yield invalid(f"{path}[{last}]", key, _TWICE)
            seen.add(key)
    for index, key in enumerate(match):
        if key in mismatch:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid(f"{path}.matchLabelKeys[{index}]", key, detail)


def node_selector(path: str, selector: Object, *, values: bool = True) -> Errors:
    """``values``: whether what labels are compared with must be possible values of labels."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from node_selector_term(f"{path}.nodeSelectorTerms[{index}]", term, values=values)


def node_selector_term(path: str, term: Object, *, values: bool = True) -> Errors:
    """``values``: whether what labels are compared with must be possible values of labels."""
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        yield from _node_requirement(where, requirement)
        yield from named(f"{where}.key", requirement.get("key") or "", names.qualified_name)
        if values:
            yield from label_values(f"{where}.values", requirement)
    for index, requirement in enumerate(term.get("matchFields") or ()):
        yield from _field_requirement(f"{path}.matchFields[{index}]", requirement)


def label_values(path: str, requirement: Object) -> Errors:
    """What a requirement compares labels with."""
    for number, value in enumerate(requirement.get("values") or ()):
        yield from named(f"{path}[{number}]", value, names.label_value)


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


def topology_spread(path: str, found: Sequence[Object], allowed: Allowances = NEW) -> Errors:
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
        keys = _label_keys_once if allowed.spread_keys else label_keys
        yield from keys(where, constraint)
        if not allowed.spread_selectors:
            yield from label_selector(f"{where}.labelSelector", constraint.get("labelSelector"))


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


def _label_keys_once(path: str, constraint: Object) -> Errors:
    """``matchLabelKeys`` as they were judged before they were merged into the selector."""
    selector, keys = constraint.get("labelSelector"), constraint.get("matchLabelKeys") or ()
    selected = set((selector or {}).get("matchLabels") or ())
    selected |= {e.get("key") for e in (selector or {}).get("matchExpressions") or ()}
    if keys and selector is None:
        yield field_forbidden(f"{path}.matchLabelKeys", "must not be specified when labelSelector is not set")
    for index, key in enumerate(keys):
        yield from named(f"{path}.matchLabelKeys[{index}]", key, names.qualified_name)
        if key in selected:
            yield invalid(f"{path}.matchLabelKeys[{index}]", key, _TWICE)
