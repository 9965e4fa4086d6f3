"""ServiceAccount."""

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn

KIND = builtin("serviceaccounts", warnings=warn.service_account, cells=show.name_and_age)
