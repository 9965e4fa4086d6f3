"""EndpointSlice."""

from sublet.kinds.builtin import builtin

KIND = builtin("endpointslices.discovery.k8s.io")
