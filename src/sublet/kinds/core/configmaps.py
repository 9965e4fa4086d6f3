"""ConfigMap."""

from sublet.kinds.builtin import builtin

KIND = builtin("configmaps")
