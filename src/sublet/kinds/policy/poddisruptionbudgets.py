"""PodDisruptionBudget."""

from sublet.kinds.builtin import builtin

KIND = builtin("poddisruptionbudgets.policy")
