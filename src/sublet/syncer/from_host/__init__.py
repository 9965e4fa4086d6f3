"""Kinds whose objects come from the host: one file each, found by ``syncer.catalog``."""
