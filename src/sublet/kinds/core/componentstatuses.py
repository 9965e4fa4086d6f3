"""ComponentStatus."""

from sublet.kinds.builtin import builtin

KIND = builtin("componentstatuses", stored=False)
