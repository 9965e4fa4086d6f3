"""PriorityLevelConfiguration."""

from sublet.kinds.builtin import builtin

KIND = builtin("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io")
