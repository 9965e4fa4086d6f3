"""ServiceAccount."""

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show

KIND = builtin("serviceaccounts", cells=show.name_and_age)
