"""Event."""

from sublet.kinds.builtin import builtin

KIND = builtin("events")
