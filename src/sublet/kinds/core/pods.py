"""Pod."""

from sublet.kinds.builtin import builtin

KIND = builtin("pods")
