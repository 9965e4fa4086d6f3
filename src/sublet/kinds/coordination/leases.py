"""Lease."""

from sublet.kinds.builtin import builtin

KIND = builtin("leases.coordination.k8s.io")
