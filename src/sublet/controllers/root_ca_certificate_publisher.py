"""root-ca-certificate-publisher-controller: every namespace has the API server's CA as ConfigMap kube-root-ca.crt.

Settings: ``root_ca`` is the CA certificate, PEM text.
"""

from __future__ import annotations

import contextlib

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating

NAME = "kube-root-ca.crt"
_NAMESPACES = resource("namespaces")
_CONFIG_MAPS = resource("configmaps")
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as "
    "the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


def wanted(namespace: str, root_ca: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": _DESCRIPTION},
        },
        "data": {"ca.crt": root_ca},
    }


def repaired(found: Object, root_ca: str) -> Object | None:
    """The ConfigMap with data and description put right; None where they are."""
    annotations = objects.annotations(found)
    if (
        found.get("data") == {"ca.crt": root_ca}
        and annotations.get("kubernetes.io/description") == _DESCRIPTION
    ):
        return None
    metadata = {
        **found["metadata"],
        "annotations": {**annotations, "kubernetes.io/description": _DESCRIPTION},
    }
    return {**found, "metadata": metadata, "data": {"ca.crt": root_ca}}


def setup(context: Context) -> Controller:
    root_ca = str(context.settings.get("root_ca") or "")
    if not root_ca:
        raise ValueError("root-ca-certificate-publisher-controller needs the setting root_ca (PEM text)")
    namespaces = context.informers.informer(_NAMESPACES)
    # Only the published ones are kept in memory, not every ConfigMap of the cluster.
    published = context.informers.informer(_CONFIG_MAPS, field_selector=f"metadata.name={NAME}")

    async def reconcile(name: str) -> None:
        namespace = namespaces.get("", name)
        if namespace is None or objects.is_deleting(namespace):
            return
        found = published.get(name, NAME)
        with contextlib.suppress(AlreadyExists, NotFound):
            try:
                if found is None:
                    await context.client.create(_CONFIG_MAPS, wanted(name, root_ca))
                elif (fixed := repaired(found, root_ca)) is not None:
                    await context.client.update(_CONFIG_MAPS, fixed)
            except Exception as error:
                if not is_namespace_terminating(error):
                    raise

    controller = Controller("root-ca-certificate-publisher-controller", reconcile)

    def on_config_map(_event: str, config_map: Object, _old: Object | None) -> None:
        controller.enqueue(objects.namespace(config_map))

    namespaces.add_handler(controller.enqueue_object)
    published.add_handler(on_config_map)
    return controller


CONTROLLER = Registration(
    "root-ca-certificate-publisher-controller", setup, service_account="root-ca-cert-publisher"
)
