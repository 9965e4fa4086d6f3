"""A controller's own last writes, which its informer may not show yet."""

from __future__ import annotations

from sublet.machinery import objects
from sublet.machinery.kind import Object


def version(obj: Object) -> int:
    """The resource version as a number; 0 where there is none."""
    text = (obj.get("metadata") or {}).get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


class Latest:
    """Keeps what was written until the informer has caught up, so that the next reconcile does not conflict."""

    def __init__(self) -> None:
        self._written: dict[str, Object] = {}

    def remember(self, obj: Object) -> Object:
        self._written[objects.uid(obj)] = obj
        return obj

    def of(self, cached: Object) -> Object:
        """The newer of the informer's object and the one last written."""
        written = self._written.get(objects.uid(cached))
        if written is None:
            return cached
        if version(written) > version(cached):
            return written
        del self._written[objects.uid(cached)]
        return cached

    def forget(self, uid: str) -> None:
        self._written.pop(uid, None)
