"""What a control plane calls itself: the Kubernetes release it follows and the sublet that it is."""

from __future__ import annotations

import sublet

PATCHES = {"1.30": 14, "1.31": 14, "1.32": 10, "1.33": 6, "1.34": 3, "1.35": 1, "1.36": 2, "1.37": 0}
"""The patch release of each minor whose behaviour is followed; clients only read major and minor."""


def git_version(minor: str, version: str = "") -> str:
    """``v1.36.2+sublet.0.1.0``: semantic, with what it really is as build metadata."""
    return f"v{minor}.{PATCHES.get(minor, 0)}+sublet.{version or sublet.__version__}"
