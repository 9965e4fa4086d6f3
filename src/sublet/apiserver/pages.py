"""Which pages for people who look for faults are served, and why others are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sublet.machinery.status import NotFound

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

PAGES = {"statusz": ("Statusz", "ComponentStatusz"), "flagz": ("Flagz", "ComponentFlagz")}
"""Path -> its kind in ``config.k8s.io``, and the feature without which it is not served."""
ABSENT: Mapping[str, str] = {
    "/logs": "the machine's log files are not the API server's to show",
    "/debug/pprof": "a Python process has no Go profiles",
    "/debug/flags": "say how much is logged with -v when the server is started",
}
"""Path that kube-apiserver serves -> why neither it nor what is below it is here."""


def refuse(path: str) -> None:
    """Raises :class:`NotFound` with the reason, where a path is one of those."""
    for known, why in ABSENT.items():
        if f"{path}/".startswith(f"{known}/"):
            raise NotFound(f"{path} is not served here: {why}")


def paths(api: APIServer) -> list[str]:
    """Those that are, as ``/`` lists them."""
    return [f"/{page}" for page, (_, feature) in PAGES.items() if api.features.enabled(feature)]
