"""Encryption at rest: which kinds are encrypted in the data store, and with which keys (EncryptionConfiguration)."""
