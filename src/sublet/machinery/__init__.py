"""Kubernetes' rules as pure functions: no I/O, no event loop."""
