"""``/version``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from sublet.apiserver import negotiation
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.release import git_version
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import MethodNotAllowed

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The version in upstream's shape."""
    if info.path.strip("/") != "version":
        return not_served()
    if info.verb not in ("get", "head"):
        raise MethodNotAllowed(f"{info.verb} is not supported on /version")
    minor = api.settings.minor
    major, _, number = minor.partition(".")
    machine = _MACHINES.get(platform.machine(), platform.machine())
    document = {
        "major": major,
        "minor": number,
        "emulationMajor": major,
        "emulationMinor": number,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(number) - 1),
        "gitVersion": git_version(minor, api.settings.version),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{machine}",
    }
    return negotiation.respond(document, negotiation.Accepted("json", pretty=True))
