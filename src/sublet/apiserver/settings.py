"""What can be set about one API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from sublet.apiserver.access import AuthorizationSettings
from sublet.apiserver.admission.configuration import AdmissionConfiguration
from sublet.apiserver.audit.log import AuditSettings
from sublet.apiserver.authentication.build import AuthenticationSettings


class APIServerSettings(Struct, frozen=True):
    """Defaults are those of upstream where it has them."""

    minor: str = "1.36"
    """The Kubernetes minor that is served."""
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    """What is switched against the minor's defaults."""
    further_versions: frozenset[str] = frozenset()
    """Versions that are served beside the stable ones: ``GROUP/VERSION/RESOURCE`` (see ``kinds/betas``)."""
    version: str = ""
    """sublet's version; empty: the package's."""
    service_cidr: str = "10.0.0.0/24"
    """Where ClusterIPs come from: one range, or one of each family with a comma between them, the first of which is the
    primary one. Its first address is the API server's own Service."""
    node_ports: tuple[int, int] = (30000, 32767)
    """First and last port for NodePort Services."""
    advertise_address: str = ""
    """Where pods reach this server: the endpoint of ``default/kubernetes``. Empty or a loopback address: no pod does."""
    machine_address: str = ""
    """This machine's address, published as not ready where no pod reaches the server; empty: nothing is published."""
    flags: Callable[[], Mapping[str, str]] = dict
    """The flags it was started with, as ``/flagz`` shows them; asked when they are."""
    secure_port: int = 6443
    """The port at that address."""
    disabled_admission: Sequence[str] = ()
    """Names of admission plug-ins not to run."""
    enabled_admission: Sequence[str] = ()
    """Names of those to run that do not by default."""
    admission: AdmissionConfiguration = field(default_factory=AdmissionConfiguration)
    """What plug-ins are told."""
    priority_and_fairness: bool = True
    """Whether FlowSchemas and PriorityLevelConfigurations are enforced; else only the bounds below are."""
    max_reading: int = 400
    """Requests that read at once; with the next one the seats that priority levels share."""
    max_writing: int = 200
    request_timeout: float = 60.0
    """Seconds a request may take, other than watches, logs and connections."""
    min_request_timeout: int = 1800
    """Seconds a watch lasts at least, where its client names no time; at most twice as long."""
    cors_allowed_origins: Sequence[str] = ()
    """Expressions of origins whose pages may ask; empty: browsers get no leave."""
    strict_transport_security: Sequence[str] = ()
    """Directives of the header by which browsers keep to TLS; empty: it is not sent."""
    event_ttl: float = 3600.0
    """Seconds an Event is kept."""
    proxy_client_cert: bytes = b""
    """PEM of the front-proxy certificate by which aggregated API servers believe who asks; empty: none is shown."""
    proxy_client_key: bytes = b""
    encryption_config: Path | None = None
    """The EncryptionConfiguration file; None: values are stored as they are."""
    encryption_reload: bool = False
    """Whether a changed file is taken without a restart."""
    audit: AuditSettings = field(default_factory=AuditSettings)
    authentication: AuthenticationSettings = field(default_factory=AuthenticationSettings)
    authorization: AuthorizationSettings = field(default_factory=AuthorizationSettings)
