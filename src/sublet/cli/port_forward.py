"""``sublet port-forward``: a local port for a tenant's API; what connect runs in the background."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from sublet.cli.common import host_options, run_until_signal


@click.command("port-forward")
@click.argument("name")
@host_options
@click.option("--local-port", default=0, help="Default: any free one.")
@click.option("--address", default="127.0.0.1", show_default=True)
@click.option("--announce", type=click.Path(path_type=Path), default=None, hidden=True)
def port_forward(
    name: str,
    kubeconfig: str | None,
    context: str,
    namespace: str,
    local_port: int,
    address: str,
    announce: Path | None,
) -> None:
    """Forward a local port to the API of the tenant cluster NAME."""
    from sublet.client.client import Client
    from sublet.client.http import HTTPTransport
    from sublet.client.kubeconfig import load
    from sublet.tenants.connect import forwarder
    from sublet.tenants.kubernetes import Tenants

    async def start() -> Any:
        access = load(kubeconfig, "" if context == "in-cluster" else context)
        client = Client(HTTPTransport(access), "sublet-port-forward")
        tenant = await Tenants(client).find(name, namespace)
        forwarding = forwarder(client, access, tenant)
        await forwarding.start(address, local_port)
        click.echo(f"Forwarding https://{address}:{forwarding.local_port} to tenant {name}", err=True)
        if announce is not None:
            scratch = announce.with_name(f"{announce.name}.{os.getpid()}")
            scratch.write_text(str(forwarding.local_port))
            scratch.replace(announce)
        return forwarding

    run_until_signal(start)


COMMAND = port_forward
