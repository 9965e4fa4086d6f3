"""Endpoints."""

from sublet.kinds.builtin import builtin

KIND = builtin("endpoints")
