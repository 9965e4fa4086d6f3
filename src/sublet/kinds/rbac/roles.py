"""Role."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules.common import Errors, fill, name_rule, rule
from sublet.kinds.rules.rbac import policy_rules
from sublet.machinery import names
from sublet.machinery.kind import Object


def _default(role: Object) -> None:
    fill(role, rules=None)


def _validate(role: Object) -> Errors:
    yield from policy_rules(role.get("rules") or [], namespaced=True)


KIND = builtin(
    "roles.rbac.authorization.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_name=name_rule(names.path_segment),
)
