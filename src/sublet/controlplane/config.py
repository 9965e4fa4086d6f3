"""The configuration of one control plane: ``sublet.yaml``, with the keys of ``vcluster.yaml``.

Keys of features this release does not have are refused unless they hold the value that switches them off, so an
existing file works as long as it asks for nothing that is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from sublet.machinery.settings import ConfigurationError, parse

SUPPORTED_MINORS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
DEFAULT_MINOR = "1.36"


class Image(Struct, frozen=True):
    registry: str = ""
    repository: str = "sublet"
    tag: str = ""

    @property
    def name(self) -> str:
        """``registry/repository:tag``; the tag defaults to this release."""
        from sublet import __version__

        prefix = f"{self.registry}/" if self.registry else ""
        return f"{prefix}{self.repository}:{self.tag or __version__}"


class Enabled(Struct, frozen=True):
    enabled: bool = False


class APIServerArguments(Struct, frozen=True):
    enabled: Literal[True] = True
    extra_args: tuple[str, ...] = ()
    """kube-apiserver's flags (``controlplane/flags``); the command line's come after them and win."""


class ControllerManagerArguments(Struct, frozen=True):
    enabled: Literal[True] = True
    extra_args: tuple[str, ...] = ()
    """kube-controller-manager's flags (``controlplane/workerflags``)."""


class SchedulerArguments(Struct, frozen=True):
    enabled: bool = False
    extra_args: tuple[str, ...] = ()
    """kube-scheduler's flags (``controlplane/workerflags``)."""


class KubernetesImage(Struct, frozen=True):
    tag: str = ""
    """What ``version`` is where that is empty: existing files choose their Kubernetes by the image's tag."""


class Kubernetes(Struct, frozen=True):
    enabled: bool = True
    version: str = ""
    """Kubernetes minor such as ``1.36`` or ``v1.36.0``; empty: the image's tag, else the default minor."""
    image: KubernetesImage = KubernetesImage()
    api_server: APIServerArguments = APIServerArguments()
    controller_manager: ControllerManagerArguments = ControllerManagerArguments()
    scheduler: SchedulerArguments = SchedulerArguments()


class Distro(Struct, frozen=True):
    k8s: Kubernetes = Kubernetes()


class EmbeddedDatabase(Struct, frozen=True):
    enabled: bool = True


class ExternalDatabase(Struct, frozen=True):
    enabled: bool = False
    data_source: str = ""


class Database(Struct, frozen=True):
    embedded: EmbeddedDatabase = EmbeddedDatabase()
    external: ExternalDatabase = ExternalDatabase()


class BackingStore(Struct, frozen=True):
    database: Database = Database()


class Proxy(Struct, frozen=True):
    bind_address: str = "0.0.0.0"
    port: int = 8443
    extra_sans: tuple[str, ...] = field(default=(), name="extraSANs")


class CoreDNS(Struct, frozen=True):
    enabled: bool = True
    embedded: bool = False


class ServiceSpec(Struct, frozen=True):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"


class Service(Struct, frozen=True):
    spec: ServiceSpec = ServiceSpec()


class VolumeClaim(Struct, frozen=True):
    enabled: bool | Literal["auto"] = "auto"
    size: str = "5Gi"
    storage_class: str = ""


class Persistence(Struct, frozen=True):
    volume_claim: VolumeClaim = VolumeClaim()
    add_volumes: list[dict[str, Any]] = field(default_factory=list)
    """Further volumes of the control plane's pod: files that the API server's flags name."""
    add_volume_mounts: list[dict[str, Any]] = field(default_factory=list)


class Scheduling(Struct, frozen=True):
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    affinity: dict[str, Any] = field(default_factory=dict)
    priority_class_name: str = ""


class StatefulSet(Struct, frozen=True):
    image: Image = Image()
    image_pull_policy: str = ""
    resources: dict[str, Any] = field(
        default_factory=lambda: {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"memory": "2Gi"},
        }
    )
    persistence: Persistence = Persistence()
    scheduling: Scheduling = Scheduling()
    env: list[dict[str, Any]] = field(default_factory=list)


class ControlPlaneSettings(Struct, frozen=True):
    distro: Distro = Distro()
    backing_store: BackingStore = BackingStore()
    proxy: Proxy = Proxy()
    coredns: CoreDNS = CoreDNS()
    service: Service = Service()
    stateful_set: StatefulSet = StatefulSet()


class AdvancedNetworking(Struct, frozen=True):
    cluster_domain: str = "cluster.local"


class Networking(Struct, frozen=True):
    service_cidr: str = field(default="", name="serviceCIDR")
    """Only for control planes with nodes of their own; shared nodes take the host cluster's addresses."""
    pod_cidr: str = field(default="10.244.0.0/16", name="podCIDR")
    advanced: AdvancedNetworking = AdvancedNetworking()


class Deploy(Struct, frozen=True):
    metrics_server: Enabled = Enabled()
    """``metrics.k8s.io``, from what the control plane's own nodes report."""


class ExportKubeConfig(Struct, frozen=True):
    context: str = ""
    server: str = ""


class Configuration(Struct, frozen=True):
    """The whole of ``sublet.yaml``."""

    control_plane: ControlPlaneSettings = ControlPlaneSettings()
    networking: Networking = Networking()
    deploy: Deploy = Deploy()
    private_nodes: Enabled = Enabled()
    export_kube_config: ExportKubeConfig = ExportKubeConfig()
    sync: dict[str, Any] = field(default_factory=dict)
    """As the document states it: the syncer's own files know their keys (``syncer/catalog``)."""

    @property
    def minor(self) -> str:
        return minor_of(_version(self))


# Keys that exist in vcluster.yaml and have no counterpart in this release.
_ABSENT = (
    "telemetry", "logging", "platform", "pro", "plugins", "external", "sleep", "sleepMode", "deletion",
    "snapshots", "integrations", "experimental", "policies", "rbac",
    "controlPlane.backingStore.etcd", "controlPlane.distro.k8s.image.registry",
    "controlPlane.distro.k8s.image.repository",
    "controlPlane.distro.k8s.apiServer.command",
    "controlPlane.distro.k8s.controllerManager.command", "controlPlane.distro.k8s.scheduler.command",
    "controlPlane.hostPathMapper", "controlPlane.ingress",
    "controlPlane.serviceMonitor", "controlPlane.standalone", "controlPlane.advanced", "controlPlane.endpoint",
    "controlPlane.statefulSet.highAvailability", "controlPlane.statefulSet.security",
    "deploy.cni", "deploy.kubeProxy", "deploy.localPathProvisioner", "deploy.metallb", "deploy.csi", "deploy.ingressNginx",
    "deploy.argoCD", "networking.replicateServices", "networking.resolveDNS", "networking.advanced.fallbackHostCluster",
    "networking.advanced.proxyKubelets", "exportKubeConfig.additionalSecrets", "exportKubeConfig.secret",
    "exportKubeConfig.insecure", "exportKubeConfig.serviceAccount", "privateNodes.autoNodes", "privateNodes.vpn",
)  # fmt: skip


def load(document: Any) -> Configuration:
    """The configuration a document states. Raises :class:`ConfigurationError`."""
    if document is not None and not isinstance(document, Mapping):
        raise ConfigurationError(f"the configuration must be a mapping of keys, not {document!r}")
    document = _without_absent(dict(document or {}))
    configuration = parse(Configuration, document)
    minor_of(_version(configuration))
    _check_store(configuration)
    _check_flags(configuration)
    if configuration.sync:
        from sublet.syncer import catalog

        catalog.settings(configuration.sync)
    return configuration


def _without_absent(document: dict[str, Any]) -> dict[str, Any]:
    """Drops keys of absent features that are switched off; refuses them when they ask for something."""
    for path in _ABSENT:
        parts = path.split(".")
        parents: list[dict[str, Any]] = [document]
        for part in parts[:-1]:
            child = parents[-1].get(part)
            if not isinstance(child, Mapping):
                break
            child = dict(child)
            parents[-1][part] = child
            parents.append(child)
        else:
            if parts[-1] in parents[-1]:
                if _asks(parents[-1][parts[-1]]):
                    raise ConfigurationError(
                        f"{path} is set, but this release of sublet does not have that feature; "
                        "remove the key or set enabled: false"
                    )
                del parents[-1][parts[-1]]
    return document


def _asks(value: Any) -> bool:
    """Whether a value asks for anything: not when it is empty, false, or a block that is switched off."""
    if isinstance(value, Mapping):
        if value.get("enabled") is False:
            return False
        return any(_asks(child) for child in value.values())
    if isinstance(value, (list, tuple)):
        return any(_asks(child) for child in value)
    return value not in (None, False, "", 0, "auto")


def _version(configuration: Configuration) -> str:
    k8s = configuration.control_plane.distro.k8s
    return k8s.version or k8s.image.tag


def of_version(configuration: Configuration, version: str) -> Configuration:
    """The configuration with another Kubernetes version; the same where it is empty."""
    if not version:
        return configuration
    minor_of(version)
    control_plane = configuration.control_plane
    k8s = replace(control_plane.distro.k8s, version=version)
    distro = replace(control_plane.distro, k8s=k8s)
    return replace(configuration, control_plane=replace(control_plane, distro=distro))


def minor_of(version: str) -> str:
    """``v1.36.2`` -> ``1.36``. Raises :class:`ConfigurationError` for a minor this release does not serve."""
    if not version:
        return DEFAULT_MINOR
    minor = ".".join(version.removeprefix("v").split(".")[:2])
    if minor not in SUPPORTED_MINORS:
        raise ConfigurationError(
            f"Kubernetes {version} is not served by this release of sublet; "
            f"choose one of {', '.join(SUPPORTED_MINORS)} (controlPlane.distro.k8s.version)"
        )
    return minor


def _check_store(configuration: Configuration) -> None:
    database = configuration.control_plane.backing_store.database
    if database.external.enabled and not database.external.data_source:
        raise ConfigurationError(
            "controlPlane.backingStore.database.external.enabled is true, but dataSource is empty"
        )


def _check_flags(configuration: Configuration) -> None:
    """Of files that flags name only the names: they are where the control plane runs."""
    k8s = configuration.control_plane.distro.k8s
    parts = (
        ("apiServer", k8s.api_server.extra_args, _api_server_flags),
        ("controllerManager", k8s.controller_manager.extra_args, _controller_manager_flags),
        ("scheduler", k8s.scheduler.extra_args, _scheduler_flags),
    )
    for name, stated, check in parts:
        if not stated:
            continue
        try:
            check(stated, configuration.minor)
        except ConfigurationError as error:
            raise ConfigurationError(f"controlPlane.distro.k8s.{name}.extraArgs: {error}") from None


def _api_server_flags(stated: Sequence[str], minor: str) -> None:
    from sublet.controlplane import flags

    flags.applied(flags.parse_flags(stated), minor, files=False)


def _controller_manager_flags(stated: Sequence[str], minor: str) -> None:
    from sublet.controlplane import workerflags

    workerflags.controlling(stated, minor, files=False)


def _scheduler_flags(stated: Sequence[str], minor: str) -> None:
    from sublet.controlplane import workerflags

    workerflags.scheduling(stated, minor, files=False)
