"""Creating and deleting pods for an owner, with the events that tell of it.

Source: kube-controller-manager's RealPodControl; reasons and texts are upstream's.
"""

from __future__ import annotations

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import NotFound, StatusError

PODS = Resource("", "v1", "pods", "Pod", True)


def is_namespace_ending(error: StatusError) -> bool:
    """Whether a create was refused since the namespace is being deleted: no use to try again, nor to complain."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.causes)


class PodControl:
    """Acts for owners of ``owner_resource``."""

    def __init__(self, client: Client, events: EventRecorder, owner_resource: Resource) -> None:
        self._client = client
        self._events = events
        self._owner_resource = owner_resource

    async def create(self, owner: Object, pod: Object) -> Object:
        """Creates ``pod`` (:func:`~sublet.reconcile.workloads.pod_from_template`) in the owner's namespace."""
        if not objects.labels(pod):
            raise ValueError(f"a pod of {objects.key(owner)} needs labels: its template has none")
        try:
            created = await self._client.create(PODS, pod, objects.namespace(owner))
        except StatusError as error:
            if not is_namespace_ending(error):
                self._tell(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self._tell(owner, "Normal", "SuccessfulCreate", f"Created pod: {objects.name(created)}")
        return created

    async def delete(self, owner: Object, pod: Object) -> bool:
        """Asks for the pod's graceful deletion; False where it was gone already."""
        name = objects.name(pod)
        try:
            await self._client.delete(PODS, name, objects.namespace(pod), uid=objects.uid(pod))
        except NotFound:
            return False
        except StatusError as error:
            self._tell(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        self._tell(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
        return True

    def _tell(self, owner: Object, kind: str, reason: str, message: str) -> None:
        self._events.event(owner, self._owner_resource, kind, reason, message)
