"""PriorityClass."""

from sublet.kinds.builtin import builtin

KIND = builtin("priorityclasses.scheduling.k8s.io")
