"""Secret."""

from sublet.kinds.builtin import builtin

KIND = builtin("secrets")
