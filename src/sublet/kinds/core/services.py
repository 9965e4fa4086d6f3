"""Service."""

from sublet.kinds.builtin import builtin

KIND = builtin("services")
