"""Binding."""

from sublet.kinds.builtin import builtin

KIND = builtin("bindings", stored=False)
