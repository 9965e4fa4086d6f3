"""DeviceClass."""

from sublet.kinds.builtin import builtin

KIND = builtin("deviceclasses.resource.k8s.io")
