"""ServiceCIDR."""

from sublet.kinds.builtin import builtin

KIND = builtin("servicecidrs.networking.k8s.io")
