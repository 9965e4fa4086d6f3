"""ResourceQuota."""

from sublet.kinds.builtin import builtin

KIND = builtin("resourcequotas")
