"""ClusterRole."""

from sublet.kinds.builtin import builtin

KIND = builtin("clusterroles.rbac.authorization.k8s.io")
