"""CSIStorageCapacity."""

from sublet.kinds.builtin import builtin

KIND = builtin("csistoragecapacities.storage.k8s.io")
