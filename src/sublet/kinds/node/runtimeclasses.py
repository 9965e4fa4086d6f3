"""RuntimeClass."""

from sublet.kinds.builtin import builtin

KIND = builtin("runtimeclasses.node.k8s.io")
