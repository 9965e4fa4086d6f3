"""CSIDriver."""

from sublet.kinds.builtin import builtin

KIND = builtin("csidrivers.storage.k8s.io")
