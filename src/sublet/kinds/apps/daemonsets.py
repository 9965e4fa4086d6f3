"""DaemonSet."""

from sublet.kinds.builtin import builtin

KIND = builtin("daemonsets.apps")
