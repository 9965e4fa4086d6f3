"""serviceaccount-controller: every namespace has its ``default`` ServiceAccount."""

from __future__ import annotations

import contextlib

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating

_NAMESPACES = resource("namespaces")
_ACCOUNTS = resource("serviceaccounts")


def setup(context: Context) -> Controller:
    namespaces = context.informers.informer(_NAMESPACES)
    accounts = context.informers.informer(_ACCOUNTS)

    async def reconcile(name: str) -> None:
        namespace = namespaces.get("", name)
        if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
            return
        if objects.is_deleting(namespace) or accounts.get(name, "default") is not None:
            return
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name},
        }
        # The namespace can be gone by now; another one of the same name brings its own event.
        with contextlib.suppress(AlreadyExists, NotFound):
            try:
                await context.client.create(_ACCOUNTS, account)
            except Exception as error:
                if not is_namespace_terminating(error):
                    raise

    controller = Controller("serviceaccount-controller", reconcile)

    def on_account(event: str, account: Object, _old: Object | None) -> None:
        if event == "delete" and objects.name(account) == "default":
            controller.enqueue(objects.namespace(account))

    namespaces.add_handler(controller.enqueue_object)
    accounts.add_handler(on_account)
    return controller


CONTROLLER = Registration("serviceaccount-controller", setup, service_account="service-account-controller")
