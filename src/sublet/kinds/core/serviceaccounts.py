"""ServiceAccount."""

from sublet.kinds.builtin import builtin

KIND = builtin("serviceaccounts")
