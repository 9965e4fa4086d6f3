"""StorageClasses, host to tenant: so that tenants can see, and choose among, what the host provisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct, field

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.selectors import from_label_selector
from sublet.syncer.declare import READ, FromHost, Rule, Scope
from sublet.syncer.mirror import Mirror

_CLASSES = resource("storageclasses.storage.k8s.io")


class Settings(Struct, frozen=True):
    enabled: bool | Literal["auto"] = "auto"
    """Needs a cluster-wide right to read them; ``auto`` is no, as the host's scheduler is used."""
    selector: dict[str, Any] = field(default_factory=dict)
    """A LabelSelector; empty selects all."""


def _setup(scope: Scope, settings: Settings) -> Sequence[Mirror]:
    if settings.enabled is not True:
        return []
    selector = from_label_selector(settings.selector)
    return [Mirror(_CLASSES, scope, lambda obj: selector.matches(objects.labels(obj)))]


SYNC = FromHost(
    resource=_CLASSES,
    key="storageClasses",
    settings=Settings,
    setup=_setup,
    cluster_rules=lambda settings: (
        (Rule(("storage.k8s.io",), ("storageclasses",), READ),) if settings.enabled is True else ()
    ),
)
