"""Which pages for people who look for faults are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

PAGES = {"statusz": ("Statusz", "ComponentStatusz"), "flagz": ("Flagz", "ComponentFlagz")}
"""Path -> its kind in ``config.k8s.io``, and the feature without which it is not served."""


def paths(api: APIServer) -> list[str]:
    """Those that are, as ``/`` lists them."""
    return [f"/{page}" for page, (_, feature) in PAGES.items() if api.features.enabled(feature)]
