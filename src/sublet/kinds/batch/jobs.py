"""Job."""

from sublet.kinds.builtin import builtin

KIND = builtin("jobs.batch", default_propagation="Orphan")
