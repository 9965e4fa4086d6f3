"""ControllerRevision."""

from sublet.kinds.builtin import builtin

KIND = builtin("controllerrevisions.apps")
