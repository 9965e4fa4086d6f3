"""What one syncer is told."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any

from sublet.syncer.mapping import Mapping, Names


@dataclass(frozen=True)
class SyncSettings:
    """The ``sync`` block of the configuration, made by ``catalog.settings``; one settings value per synced kind."""

    to_host: Dict[str, Any]
    """Key (``configMaps``) -> the settings value of the file in ``to_host/`` that has it."""
    from_host: Dict[str, Any]


@dataclass(frozen=True)
class SyncerSettings:
    tenant_name: str
    host_namespace: str
    sync: SyncSettings | None = None
    """None: the defaults."""
    service_name: str = ""
    """The host Service in front of the tenant's API server, owner of all host objects. Empty: the tenant's name."""
    workload_service_account: str = ""
    """As which tenant pods run on the host. Empty: ``sublet-workload-NAME``."""
    cluster_domain: str = "cluster.local"
    """The tenant's."""
    dns_service: str = "kube-system/kube-dns"
    """The tenant's Service whose ClusterIP pods use as name server. Empty: pods keep the host's DNS."""
    set_owner: bool = True
    names: Names = field(default=Names())

    @property
    def mapping(self) -> Mapping:
        return Mapping(self.tenant_name, self.host_namespace, self.names)

    @property
    def service(self) -> str:
        return self.service_name or self.tenant_name

    @property
    def service_account(self) -> str:
        return self.workload_service_account or f"sublet-workload-{self.tenant_name}"
