"""ReplicationController."""

from sublet.kinds.builtin import builtin

KIND = builtin("replicationcontrollers", default_propagation="Orphan")
