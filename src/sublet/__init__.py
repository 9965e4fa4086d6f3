"""sublet gives every tenant a Kubernetes cluster of their own (rooms: ARCHITECTURE.md)."""

__version__ = "0.1.0"
