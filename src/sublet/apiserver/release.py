"""What a control plane calls itself: the Kubernetes release it follows and the sublet that it is."""

from __future__ import annotations

import platform

import sublet

PATCHES = {"1.30": 14, "1.31": 14, "1.32": 10, "1.33": 6, "1.34": 3, "1.35": 1, "1.36": 2, "1.37": 0}
"""The patch release of each minor whose behaviour is followed; clients only read major and minor."""
SERVER = "kube-apiserver"
"""The manager of the fields that the server itself writes."""
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def patch_release(minor: str) -> str:
    """``1.36.2``."""
    return f"{minor}.{PATCHES.get(minor, 0)}"


def git_version(minor: str, version: str = "") -> str:
    """``v1.36.2+sublet.0.1.0``: semantic, with what it really is as build metadata."""
    return f"v{patch_release(minor)}+sublet.{version or sublet.__version__}"


def document(minor: str, version: str = "") -> dict[str, str]:
    """The answer of ``/version``, in upstream's shape."""
    major, _, number = minor.partition(".")
    machine = _MACHINES.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": number,
        "emulationMajor": major,
        "emulationMinor": number,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(number) - 1),
        "gitVersion": git_version(minor, version),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{machine}",
    }


def user_agent(component: str, minor: str, purpose: str = "") -> str:
    """``kube-controller-manager/v1.36.2+sublet.0.1.0 (linux/amd64) kubernetes/unknown/PURPOSE``.

    As client-go names a component of upstream's; up to the first slash it is the manager of the fields it writes.
    """
    version, machine = git_version(minor).partition("-")[0], document(minor)["platform"]
    return f"{component}/{version} ({machine}) kubernetes/unknown" + (f"/{purpose}" if purpose else "")
