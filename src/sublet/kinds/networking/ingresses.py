"""Ingress."""

from sublet.kinds.builtin import builtin

KIND = builtin("ingresses.networking.k8s.io")
