"""ReplicaSet."""

from sublet.kinds.builtin import builtin

KIND = builtin("replicasets.apps")
