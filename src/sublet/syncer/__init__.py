"""Syncs a tenant with its host cluster: what the tenant runs has copies there, what the host says comes back.

``engine`` holds the rules that all kinds share; each file in ``to_host/`` and ``from_host/`` states one kind as ``SYNC``
and is found by ``catalog``. ``podstreams`` and ``service_allocator`` serve the tenant's API server.
"""
