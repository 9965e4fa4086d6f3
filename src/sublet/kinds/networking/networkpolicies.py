"""NetworkPolicy."""

from sublet.kinds.builtin import builtin

KIND = builtin("networkpolicies.networking.k8s.io")
