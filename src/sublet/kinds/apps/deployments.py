"""Deployment."""

from sublet.kinds.builtin import builtin

KIND = builtin("deployments.apps")
