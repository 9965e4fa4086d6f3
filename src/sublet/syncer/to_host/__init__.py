"""Kinds whose objects live in the tenant and have copies on the host: one file each, found by ``syncer.catalog``."""
