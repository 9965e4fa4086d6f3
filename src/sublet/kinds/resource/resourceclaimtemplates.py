"""ResourceClaimTemplate."""

from sublet.kinds.builtin import builtin

KIND = builtin("resourceclaimtemplates.resource.k8s.io")
