"""Node."""

from sublet.kinds.builtin import builtin

KIND = builtin("nodes")
