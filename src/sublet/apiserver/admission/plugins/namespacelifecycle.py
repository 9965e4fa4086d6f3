"""Nothing is created in a namespace that does not exist or is going; the system's own cannot be deleted."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, DELETE, Attributes, Context, Plugin
from sublet.machinery import objects
from sublet.machinery.status import Cause, forbidden, not_found

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_RETRY_SECONDS = 2


def _handles(attributes: Attributes) -> bool:
    if attributes.target == ("", "namespaces"):
        return attributes.operation == DELETE
    if attributes.operation != CREATE or not attributes.namespace:
        return False
    # Reviews must work before the namespace is there.
    return attributes.group != "authorization.k8s.io"


async def _admit(attributes: Attributes, context: Context) -> None:
    if attributes.target == ("", "namespaces"):
        if attributes.name in IMMORTAL:
            raise forbidden("", "namespaces", attributes.name, "this namespace may not be deleted")
        return
    where = attributes.namespace
    namespace = await context.reader.get("", "namespaces", "", where)
    if namespace is None:
        namespace = await context.reader.get_latest("", "namespaces", "", where)
    if namespace is None:
        raise not_found("", "namespaces", where)
    if not objects.is_deleting(namespace) and (namespace.get("status") or {}).get("phase") != "Terminating":
        return
    raise forbidden(
        attributes.group,
        attributes.plural,
        attributes.name,
        f"unable to create new content in namespace {where} because it is being terminated",
        [Cause("NamespaceTerminating", f"namespace {where} is being terminated", "metadata.namespace")],
        _RETRY_SECONDS,
    )


PLUGIN = Plugin("NamespaceLifecycle", _handles, admit=_admit)
