"""IPAddress."""

from sublet.kinds.builtin import builtin

KIND = builtin("ipaddresses.networking.k8s.io")
