"""The audit log: who asked for what, and what came of it, by a policy file (audit.k8s.io/v1)."""
