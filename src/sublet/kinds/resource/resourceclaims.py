"""ResourceClaim."""

from sublet.kinds.builtin import builtin

KIND = builtin("resourceclaims.resource.k8s.io")
