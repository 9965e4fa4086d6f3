"""FlowSchema."""

from sublet.kinds.builtin import builtin

KIND = builtin("flowschemas.flowcontrol.apiserver.k8s.io")
