"""``sublet dns``: the cluster's DNS as a process of its own (in the tenant's kube-system)."""

from __future__ import annotations

import click


@click.command("dns")
@click.option("--kubeconfig", type=click.Path(), default=None, help="Cluster to serve; default: in-cluster.")
@click.option("--host", default="0.0.0.0", show_default=True)
@click.option("--port", default=1053, show_default=True, type=int)
@click.option("--domain", default="cluster.local", show_default=True, help="The cluster's domain.")
@click.option("--upstream", multiple=True, help="Where other names go; default: /etc/resolv.conf.")
def dns(kubeconfig: str | None, host: str, port: int, domain: str, upstream: tuple[str, ...]) -> None:
    """Serve the names of a cluster's services, and forward all others."""
    from sublet.cli.common import run_until_signal
    from sublet.client.client import Client
    from sublet.client.http import HTTPTransport
    from sublet.client.kubeconfig import load
    from sublet.dns.server import DNSServer, DNSSettings

    async def start() -> DNSServer:
        client = Client(HTTPTransport(load(kubeconfig)), "sublet-dns")
        server = DNSServer(client, DNSSettings(host=host, port=port, domain=domain, upstreams=upstream))
        await server.start()
        click.echo(f"Serving {domain} on {host}:{server.port}", err=True)
        return server

    run_until_signal(start)


COMMAND = dns
