"""What one node agent is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sublet.client.kubeconfig import ClusterAccess


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Settings of the agent of one node; times in seconds."""

    node_name: str
    data_dir: Path
    """Pod directories, logs and credentials; the agent finds its pods again below it."""
    cri_socket: str
    """Path of the container runtime's unix socket."""
    node_ip: str
    """The address under which API server and other nodes reach this node."""
    cluster_dns: tuple[str, ...] = ()
    """Addresses of the cluster's DNS, for pods with dnsPolicy ClusterFirst; without it they get the node's."""
    cluster_domain: str = "cluster.local"
    access: ClusterAccess | None = None
    """How to reach the API server; ``node.join`` makes it from a bootstrap token."""
    address: str = "0.0.0.0"
    port: int = 10250
    """Of the agent's HTTPS endpoint; 0 for a free one."""
    client_ca: bytes = b""
    """PEM of the authority whose client certificates may use the endpoint."""
    serving_cert: bytes = b""
    serving_key: bytes = b""
    """PEM; both empty: self-signed, kept in ``data_dir``."""
    api_server_users: tuple[str, ...] = ("kube-apiserver-kubelet-client", "system:kube-apiserver")
    """Common names of the client certificates that may use the endpoint, besides members of
    ``system:masters``."""
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()
    version: str = "v1.36.0"
    """What the node tells as the kubelet's version: the cluster's minor."""
    max_pods: int = 110
    reserved_cpu_milli: int = 100
    reserved_memory: int = 256 << 20
    """Bytes of memory kept from pods: what allocatable lacks of capacity."""
    cgroup_root: str = "/sublet"
    """The cgroup below which pods live: ``<root>/<qos class>/pod<uid>``."""
    registry_may_be_absent: bool = False
    """Use an image that is here when ``imagePullPolicy: Always`` asks for a pull and no registry answers."""
    status_period: float = 10.0
    """How often the node's state is looked at; it is written when it changed, or every five minutes."""
    lease_period: float = 10.0
    lease_seconds: int = 40
    """After which a node that renews no lease counts as lost."""
    relist_period: float = 1.0
    """Longest time until a change in the runtime is noticed when it sends no events."""
    volume_period: float = 60.0
    """How often ConfigMaps, Secrets and tokens in volumes are looked at again."""
    backoff_start: float = 10.0
    backoff_limit: float = 300.0
    """Of restarts and of image pulls; doubled each time, forgotten after twice the limit without a failure."""
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    resolv_conf: Path = Path("/etc/resolv.conf")

    @property
    def pods_dir(self) -> Path:
        return self.data_dir / "pods"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    def pod_dir(self, uid: str) -> Path:
        return self.pods_dir / uid
