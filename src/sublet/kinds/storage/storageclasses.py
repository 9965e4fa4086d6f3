"""StorageClass."""

from sublet.kinds.builtin import builtin

KIND = builtin("storageclasses.storage.k8s.io")
