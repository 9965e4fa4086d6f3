"""Rules of where pods may go: tolerations, affinity, topology spread, node selectors."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules.common import Errors, label_selector, labels, named, needs
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


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
            yield from named(f"{where}.operator", value, names.label_value)
        elif operator == "Exists":
            if value:
                yield invalid(
                    f"{where}.operator", toleration, "value must be empty when `operator` is 'Exists'"
                )
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
        yield from node_selector_term(f"{where}.preference", preference.get("preference") or {})


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
    for index, namespace in enumerate(term.get("namespaces") or ()):
        yield from named(f"{path}.namespaces[{index}]", namespace, names.dns1123_label)
    topology = term.get("topologyKey") or ""
    if not topology:
        yield required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from named(f"{path}.topologyKey", topology, names.qualified_name)


def node_selector(path: str, selector: Object) -> Errors:
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from node_selector_term(f"{path}.nodeSelectorTerms[{index}]", term)


def node_selector_term(path: str, term: Object) -> Errors:
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        yield from _node_requirement(where, requirement)
        yield from named(f"{where}.key", requirement.get("key") or "", names.qualified_name)
    for index, requirement in enumerate(term.get("matchFields") or ()):
        where, key = f"{path}.matchFields[{index}]", requirement.get("key") or ""
        if requirement.get("operator") not in ("In", "NotIn"):
            yield invalid(
                f"{where}.operator", requirement.get("operator") or "", "not a valid selector operator"
            )
        elif len(requirement.get("values") or ()) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{where}.values", detail)
        if key != "metadata.name":
            yield invalid(f"{where}.key", key, "not a valid field selector key")


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
    seen = set()
    for index, constraint in enumerate(found):
        where = f"{path}[{index}]"
        skew, action = constraint.get("maxSkew") or 0, constraint.get("whenUnsatisfiable") or ""
        topology = constraint.get("topologyKey") or ""
        if skew <= 0:
            yield invalid(f"{where}.maxSkew", skew, "must be greater than zero")
        if not topology:
            yield required(f"{where}.topologyKey", "can not be empty")
        else:
            yield from needs(f"{where}.topologyKey", topology, names.qualified_name)
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            yield not_supported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if (topology, action) in seen:
            yield duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{topology}, {action}}}")
        seen.add((topology, action))
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
    yield from label_selector(f"{path}.labelSelector", constraint.get("labelSelector"))
    keys = constraint.get("matchLabelKeys") or ()
    if keys and not constraint.get("labelSelector"):
        yield field_forbidden(f"{path}.matchLabelKeys", "must not be specified when labelSelector is not set")
    for index, key in enumerate(keys):
        yield from named(f"{path}.matchLabelKeys[{index}]", key, names.qualified_name)


def node_labels(path: str, found: Object | None) -> Errors:
    """``nodeSelector`` of a pod."""
    yield from labels(path, found)
