"""``sublet node``: nodes of a control plane, real and hollow."""

from __future__ import annotations

from pathlib import Path

import click

from sublet.cli.common import run_until_cancelled


@click.group("node")
def node() -> None:
    """Run nodes against any control plane."""


@node.command("hollow")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1), help="How many nodes.")
@click.option("--kubeconfig", type=click.Path(), default=None, help="Default: $KUBECONFIG, ~/.kube/config.")
@click.option("--context", default="", help="Context in that kubeconfig.")
@click.option("--prefix", default="hollow", show_default=True, help="Nodes are named PREFIX-0, PREFIX-1 …")
@click.option(
    "--finish-seconds", default=None, type=float, help="Pods that need not restart end after this long."
)
def hollow(
    count: int, kubeconfig: str | None, context: str, prefix: str, finish_seconds: float | None
) -> None:
    """Run nodes that report their pods as running without running them."""

    async def work() -> None:
        from sublet.client.client import Client
        from sublet.client.http import HTTPTransport
        from sublet.client.kubeconfig import load
        from sublet.node.hollow import names, run_hollow
        from sublet.node.hollow_registration import HollowSettings

        client = Client(HTTPTransport(load(kubeconfig, context)), "kubelet")
        try:
            click.echo(f"Running {count} hollow node(s)", err=True)
            settings = HollowSettings(names=names(count, prefix), finish_seconds=finish_seconds)
            await run_hollow(client, count, settings=settings)
        finally:
            await client.close()

    run_until_cancelled(work)


@node.command("join")
@click.option("--server", required=True, help="The control plane: https://HOST:PORT.")
@click.option("--token", required=True, help="Bootstrap token: ID.SECRET (sublet token create).")
@click.option("--ca-cert-hash", default="", help="sha256:… of the control plane's authority.")
@click.option("--ca-file", type=click.Path(path_type=Path), default=None, help="The authority itself.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path("/var/lib/sublet/node"), show_default=True
)
@click.option("--node-name", default="", help="Default: this machine's host name.")
@click.option(
    "--cluster-dns", default="", help="Address of the cluster's DNS; default: the tenth service address."
)
def join(
    server: str,
    token: str,
    ca_cert_hash: str,
    ca_file: Path | None,
    data_dir: Path,
    node_name: str,
    cluster_dns: str,
) -> None:
    """Join this machine to a control plane as a node and run its pods through containerd."""
    from sublet.machine.join import JoinMachineSettings, run_node

    settings = JoinMachineSettings(
        server=server, token=token, ca_cert_hash=ca_cert_hash, ca_file=ca_file, data_dir=data_dir,
        node_name=node_name, cluster_dns=cluster_dns,
    )  # fmt: skip
    run_until_cancelled(lambda: run_node(settings))


COMMAND = node
