"""PodTemplate."""

from sublet.kinds.builtin import builtin

KIND = builtin("podtemplates")
