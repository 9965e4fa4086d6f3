"""RoleBinding."""

from sublet.kinds.builtin import builtin

KIND = builtin("rolebindings.rbac.authorization.k8s.io")
