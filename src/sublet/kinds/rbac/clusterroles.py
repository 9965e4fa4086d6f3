"""ClusterRole."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules.common import Errors, fill, label_selector, name_rule, rule
from sublet.kinds.rules.rbac import policy_rules
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required


def _default(role: Object) -> None:
    fill(role, rules=None)


def _validate(role: Object) -> Errors:
    yield from policy_rules(role.get("rules") or [], namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is None:
        return
    selectors = aggregation.get("clusterRoleSelectors") or ()
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        yield required("aggregationRule.clusterRoleSelectors", detail)
    for index, selector in enumerate(selectors):
        path = f"aggregationRule.clusterRoleSelectors[{index}]"
        wrong = list(label_selector(path, selector))
        yield from wrong
        if wrong:
            yield invalid(path, None, "invalid label selector.")


KIND = builtin(
    "clusterroles.rbac.authorization.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_name=name_rule(names.path_segment),
)
