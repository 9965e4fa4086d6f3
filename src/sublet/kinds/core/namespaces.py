"""Namespace."""

from sublet.kinds.builtin import builtin

KIND = builtin("namespaces")
