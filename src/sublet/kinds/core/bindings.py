"""Binding: the old way to place a pod, asked and not kept."""

from sublet.kinds.builtin import builtin

KIND = builtin("bindings", stored=False)
