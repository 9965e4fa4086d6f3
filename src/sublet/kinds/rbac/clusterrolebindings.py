"""ClusterRoleBinding."""

from sublet.kinds.builtin import builtin

KIND = builtin("clusterrolebindings.rbac.authorization.k8s.io")
