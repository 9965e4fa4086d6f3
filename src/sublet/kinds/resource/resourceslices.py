"""ResourceSlice."""

from sublet.kinds.builtin import builtin

KIND = builtin("resourceslices.resource.k8s.io")
