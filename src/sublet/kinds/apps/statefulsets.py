"""StatefulSet."""

from sublet.kinds.builtin import builtin

KIND = builtin("statefulsets.apps")
