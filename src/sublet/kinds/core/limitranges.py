"""LimitRange."""

from sublet.kinds.builtin import builtin

KIND = builtin("limitranges")
