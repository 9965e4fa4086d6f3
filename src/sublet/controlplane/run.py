"""One control plane as a foreground process: flags and ``sublet.yaml`` become an assembly."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from sublet.apiserver.server import ListenError
from sublet.controlplane import addresses
from sublet.controlplane import config as configuration
from sublet.controlplane.assemble import SERVICE_CIDR, Assembly, ControlPlane, Shutdown
from sublet.machinery import codec
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import StatusError
from sublet.pki.files import PKIError
from sublet.store.interface import StoreError

_SWITCH_SECONDS = 0.001
_GC_THRESHOLDS = (5_000, 2, 2_000)
"""Decoded objects are many small dicts without cycles; the collector's defaults cost a quarter of busy time.

The first two bound what the collector looks at in one go, 15,000 objects, and so how long the loop stands: 5 ms.
"""
_SETTLED_SECONDS = 10.0


class CannotStart(RuntimeError):
    """The control plane cannot start as it was asked to; ``str()`` names what is wrong and the way out."""


class RunSettings(Struct, frozen=True):
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 6443
    config: Path | None = None
    store: str = ""
    advertise_address: str = ""
    service_cidr: str = ""
    sans: Sequence[str] = ()
    tenant: str = ""
    """Empty: a control plane with nodes of its own."""
    namespace: str = ""
    host_kubeconfig: str | None = None
    host_context: str = ""
    kubernetes_version: str = ""
    """As ``controlPlane.distro.k8s.version``, which it overrides; empty: what the configuration says."""
    api_server_flags: Sequence[str] = ()
    """kube-apiserver's flags, as on a command line."""


def read_configuration(path: Path | None) -> configuration.Configuration:
    """Raises :class:`ConfigurationError` naming the file."""
    if path is None:
        return configuration.load({})
    try:
        return configuration.load(codec.decode_yaml_file(path.read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"the configuration {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def assembly(settings: RunSettings, chosen: configuration.Configuration) -> Assembly:
    """What the flags and the configuration say together; flags win."""
    control_plane = chosen.control_plane
    database = control_plane.backing_store.database
    stated = flagged(settings, chosen)
    host = stated.pop("host", settings.host)
    fields: dict[str, Any] = {
        "data_dir": settings.data_dir,
        "store_url": settings.store or (database.external.data_source if database.external.enabled else ""),
        "minor": chosen.minor,
        "host": host,
        "port": settings.port,
        "sans": (*settings.sans, *control_plane.proxy.extra_sans),
        "advertise_address": settings.advertise_address or addresses.advertised(host),
        "service_cidr": addresses.service_range(
            settings.service_cidr or chosen.networking.service_cidr or SERVICE_CIDR
        ),
        "pod_cidr": addresses.pod_range(chosen.networking.pod_cidr),
        "cluster_domain": chosen.networking.advanced.cluster_domain,
        "resource_metrics": chosen.deploy.metrics_server.enabled,
    }
    fields |= stated
    chosen_range = settings.service_cidr or chosen.networking.service_cidr or "service_cidr" in stated
    if chosen_range and not settings.tenant:
        addresses.check_family(fields["service_cidr"], fields["advertise_address"])
    fields["settings"] = {**fields.get("settings", {}), "flags": partial(_shown, settings, chosen, fields)}
    return Assembly(**fields)


def _shown(
    settings: RunSettings, chosen: configuration.Configuration, fields: Mapping[str, Any]
) -> dict[str, str]:
    """The API server's flags as they came to be."""
    from sublet.controlplane import flags

    parsed = flags.parse_flags(_stated(settings, chosen))
    return flags.shown(
        parsed, bind_address=fields["host"], secure_port=f"{fields['port']}",
        advertise_address=fields["advertise_address"], service_cluster_ip_range=fields["service_cidr"],
    )  # fmt: skip


def _stated(settings: RunSettings, chosen: configuration.Configuration) -> tuple[str, ...]:
    return (*chosen.control_plane.distro.k8s.api_server.extra_args, *settings.api_server_flags)


def flagged(settings: RunSettings, chosen: configuration.Configuration) -> dict[str, Any]:
    """Fields of the assembly by the flags of its components. Raises :class:`ConfigurationError`."""
    k8s = chosen.control_plane.distro.k8s
    found: dict[str, Any] = {}
    if stated := _stated(settings, chosen):
        from sublet.controlplane import flags, servingflags

        parsed = flags.parse_flags(stated)
        found = {
            "settings": flags.applied(parsed, chosen.minor),
            "shutdown": Shutdown(**flags.shutdown(parsed)),
            **servingflags.places(parsed),
        }
    if k8s.controller_manager.extra_args or k8s.scheduler.extra_args:
        from sublet.controlplane import workerflags

        controllers = workerflags.controlling(k8s.controller_manager.extra_args, chosen.minor)
        found |= workerflags.together(
            controllers, workerflags.scheduling(k8s.scheduler.extra_args, chosen.minor)
        )
    return found


async def start(settings: RunSettings) -> ControlPlane:
    """A running control plane: alone, or as a tenant of a host cluster. Raises what a user can act on."""
    # The store's writer thread gives way to the loop sooner (docs/decisions/0003-store-writer-thread.md).
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(*_GC_THRESHOLDS)
    chosen = configuration.of_version(read_configuration(settings.config), settings.kubernetes_version)
    try:
        if settings.tenant:
            from sublet.controlplane.tenant import start_tenant

            tenant = await start_tenant(settings, chosen)
            _spare_collector()
            return tenant
        plane = ControlPlane(assembly(settings, chosen))
        await plane.start()
        _spare_collector()
    except (ListenError, PKIError, StatusError, StoreError) as error:
        raise CannotStart(str(error)) from error
    return plane


def _spare_collector() -> None:
    """Takes what was loaded out of the garbage collector's sight: it stays, and looking through it takes 40 ms.

    Again once the controllers are loaded too. Whoever switched the collector off while code was loaded gets it back.
    """
    gc.freeze()
    gc.enable()
    asyncio.get_running_loop().call_later(_SETTLED_SECONDS, gc.freeze)
