"""Certificates and keys: an authority, what it issues, and the files of a control plane."""
