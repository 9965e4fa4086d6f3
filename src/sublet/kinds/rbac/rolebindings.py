"""RoleBinding."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import rbac
from sublet.kinds.rules.common import Errors, name_rule, rule, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object

_ROLES = ("Role", "ClusterRole")


def _validate(obj: Object) -> Errors:
    yield from rbac.binding(obj, _ROLES)


KIND = builtin(
    "rolebindings.rbac.authorization.k8s.io",
    default=rbac.default_binding,
    validate=rule(_validate),
    validate_update=update_rule(rbac.binding_update),
    validate_name=name_rule(names.path_segment),
    cells=rbac.binding_cells,
)
