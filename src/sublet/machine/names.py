"""What one cluster's parts are called on a machine, so that several can share it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sublet.machine.containerd import ContainerdSettings

DEFAULT_DIRECTORY = Path("/var/lib/sublet/node")


@dataclass(frozen=True, slots=True)
class NodePlaces:
    """Directories and kernel objects of the node that lives in ``directory``."""

    directory: Path

    @property
    def suffix(self) -> str:
        """Empty for the usual directory, else short and stable for it."""
        if self.directory == DEFAULT_DIRECTORY:
            return ""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:6]

    @property
    def bridge(self) -> str:
        return f"sublet{self.suffix or '0'}"

    @property
    def cgroup_root(self) -> str:
        return f"/sublet-{self.suffix}" if self.suffix else "/sublet"

    @property
    def cluster(self) -> str:
        """Names the service proxy's table."""
        return f"services-{self.suffix or '0'}"

    @property
    def containerd(self) -> ContainerdSettings:
        return ContainerdSettings(self.directory / "containerd", cgroup_root=self.cgroup_root)

    @property
    def addresses(self) -> Path:
        """Where the pod network remembers who has which address."""
        return self.directory / "addresses"

    @property
    def network_file(self) -> Path:
        """The pod ranges of the network that was set up, to take it down again."""
        return self.directory / "network.json"

    @property
    def volumes(self) -> Path:
        return self.directory / "volumes"

    @property
    def ready_file(self) -> Path:
        """Holds the process id of the node once pods can run and reach Services and names."""
        return self.directory / "ready"
