"""IngressClass."""

from sublet.kinds.builtin import builtin

KIND = builtin("ingressclasses.networking.k8s.io")
