"""CSINode."""

from sublet.kinds.builtin import builtin

KIND = builtin("csinodes.storage.k8s.io")
