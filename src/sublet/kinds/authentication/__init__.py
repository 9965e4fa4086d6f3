"""Kinds of the group authentication.k8s.io."""
