"""APIService."""

from sublet.kinds.builtin import builtin

KIND = builtin("apiservices.apiregistration.k8s.io")
