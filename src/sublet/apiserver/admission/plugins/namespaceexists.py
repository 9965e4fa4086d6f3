"""NamespaceExists: nothing is written in a namespace that does not exist. NamespaceLifecycle does more."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CONNECT, Attributes, Context, Plugin
from sublet.machinery.status import not_found


def _handles(attributes: Attributes) -> bool:
    return (
        attributes.operation != CONNECT
        and bool(attributes.namespace)
        and attributes.target != ("", "namespaces")
    )


async def _validate(attributes: Attributes, context: Context) -> None:
    where = attributes.namespace
    if await context.reader.get("", "namespaces", "", where) is not None:
        return
    if await context.reader.get_latest("", "namespaces", "", where) is None:
        raise not_found("", "namespaces", where)


PLUGIN = Plugin("NamespaceExists", _handles, validate=_validate)
