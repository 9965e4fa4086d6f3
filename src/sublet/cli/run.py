"""``sublet run``: one control plane in the foreground."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sublet.cli.common import run_until_signal

if TYPE_CHECKING:
    from sublet.controlplane.assemble import ControlPlane


def _verbosity(text: str) -> int:
    """As Kubernetes' programs take it: ``-v 2``, ``-v=2``, ``--v=2``."""
    return int(text.removeprefix("="))


@click.command(
    "run",
    context_settings={"ignore_unknown_options": True},
    epilog="Flags of kube-apiserver are taken too, where they mean something here: --audit-policy-file, "
    "--encryption-provider-config, --event-ttl and others; one that means nothing here is refused with the reason.",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), required=True, help="Data, certificates, kubeconfig."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=6443, show_default=True, help="Port to listen on; 0: any free one.")
@click.option("--config", type=click.Path(path_type=Path), default=None, help="sublet.yaml.")
@click.option("--store", default="", help="Data store URL; default: SQLite in the data directory.")
@click.option("--advertise-address", default="", help="Address under which nodes and pods reach it.")
@click.option("--service-cidr", default="", help="Where ClusterIPs come from; default 10.96.0.0/16.")
@click.option("--san", "sans", multiple=True, help="Further name or address of the serving certificate.")
@click.option("--kubernetes-version", default="", help="Kubernetes to serve, 1.30 to 1.37; default: 1.36.")
@click.option("--tenant", default="", help="Run as this tenant: its pods live on the host cluster.")
@click.option("--namespace", default="", help="The tenant's namespace on the host; default: the pod's own.")
@click.option(
    "--host-kubeconfig", type=click.Path(), default=None, help="The host cluster; default: in-cluster."
)
@click.option("--host-context", default="", help="Context in that kubeconfig.")
@click.option(
    "-v", "--v", "verbosity", type=_verbosity, default="0", help="How much is logged; 4 and more: everything."
)
@click.argument("api_server_flags", nargs=-1, type=click.UNPROCESSED, metavar="[API SERVER FLAGS]...")
def run(
    data_dir: Path,
    host: str,
    port: int,
    config: Path | None,
    store: str,
    advertise_address: str,
    service_cidr: str,
    sans: tuple[str, ...],
    kubernetes_version: str,
    tenant: str,
    namespace: str,
    host_kubeconfig: str | None,
    host_context: str,
    verbosity: int,
    api_server_flags: tuple[str, ...],
) -> None:
    """Run one control plane until SIGTERM; the administrator's kubeconfig is DATA_DIR/kubeconfig.yaml."""
    gc.disable()  # while code is loaded there is nothing to find; a control plane that runs switches it on
    from sublet.controlplane.run import RunSettings, start

    settings = RunSettings(
        data_dir=data_dir,
        host=host,
        port=port,
        config=config,
        store=store,
        advertise_address=advertise_address,
        service_cidr=service_cidr,
        sans=sans,
        kubernetes_version=kubernetes_version,
        tenant=tenant,
        namespace=namespace,
        host_kubeconfig=host_kubeconfig,
        host_context=host_context,
        api_server_flags=api_server_flags,
    )

    async def begin() -> ControlPlane:
        plane = await start(settings)
        click.echo(f"sublet is ready at {plane.url}; kubeconfig: {plane.kubeconfig_path}", err=True)
        return plane

    run_until_signal(begin, verbosity=verbosity)


COMMAND = run
