"""Role."""

from sublet.kinds.builtin import builtin

KIND = builtin("roles.rbac.authorization.k8s.io")
