"""PersistentVolumeClaim."""

from sublet.kinds.builtin import builtin

KIND = builtin("persistentvolumeclaims")
