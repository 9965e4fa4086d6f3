"""Endpoints go with their Service, in the same request: a later Service of the name starts without them."""

from __future__ import annotations

import logging

from sublet.apiserver.deletion import DeleteOptions
from sublet.apiserver.registry import Registry
from sublet.apiserver.writing import SYSTEM_USER, Write
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound, StatusError

_log = logging.getLogger(__name__)


async def follow(registry: Registry, service: Object) -> None:
    """Removes the Endpoints of a Service that is gone. Nobody is asked, and a failure is only noted."""
    kind = registry.kinds.stored("", "endpoints")
    if kind is None:
        return
    namespace, name = objects.namespace(service), objects.name(service)
    try:
        write = Write(SYSTEM_USER, kind.resource, admitted=True)
        await registry.delete(kind, namespace, name, DeleteOptions(), write)
    except NotFound:
        return
    except StatusError as error:
        _log.warning("the endpoints of service %s/%s stay: %s", namespace, name, error)
