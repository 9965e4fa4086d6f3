"""``sublet connect``: a kubeconfig context for a tenant, or one command run against it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from sublet.cli.common import Host, find_tenant, host_cluster, host_options, local_tenants, run
from sublet.cli.output import done, info

if TYPE_CHECKING:
    from sublet.tenants.connect import Endpoint


async def _endpoint(
    host: Host, name: str, namespace: str, local_port: int, background_proxy: bool | None
) -> tuple[Endpoint, str]:
    """How the tenant is reached from here, and its namespace."""
    from sublet.tenants.connect import Endpoint, find_endpoint, wait_running
    from sublet.tenants.kubernetes import Tenants

    tenant = await find_tenant(host, name, namespace)
    if tenant.driver == "local":
        processes = local_tenants(host)
        processes.resume(name)
        return Endpoint(processes.access(name), "directly"), tenant.namespace
    tenants = Tenants(host.client)
    tenant = await wait_running(tenants, name, namespace, 30, info)
    found = await find_endpoint(tenants, tenant, host.context, host.kubeconfig, local_port, background_proxy)
    return found, tenant.namespace


async def connect_to(
    name: str,
    kubeconfig: str | None,
    context: str,
    namespace: str,
    *,
    server: str = "",
    local_port: int = 0,
    print_only: bool = False,
    context_as: str = "",
    background_proxy: bool | None = None,
) -> None:
    """Writes (or prints) a context for the tenant and makes it the current one."""
    from sublet.client import kubeconfig as files
    from sublet.machinery import codec
    from sublet.tenants.connect import Endpoint, context_name

    async with host_cluster(kubeconfig, context) as host:
        found, where = await _endpoint(host, name, namespace, local_port, background_proxy)
        if server:
            url = server if "://" in server else f"https://{server}"
            found = Endpoint(replace(found.access, server=url), f"at {url}")
        entry = context_as or context_name(name, where, host.context)
    if print_only:
        click.echo(codec.encode_yaml(files.to_config(found.access, entry)), nl=False)
        return
    path = kubeconfig or files.default_path()
    if files.contexts(kubeconfig)[1] == entry:
        info(f"already connected to {name}")
    files.merge(path, found.access, entry)
    done(f"Switched active kube context to {entry} (reached {found.how})")
    info("- Use `sublet disconnect` to return to your previous kube context")
    info("- Use `kubectl get namespaces` to access the tenant cluster")


def run_command(
    name: str,
    kubeconfig: str | None,
    context: str,
    namespace: str,
    command: tuple[str, ...],
    background_proxy: bool | None = None,
) -> int:
    """Runs a command with KUBECONFIG pointing at the tenant; returns its exit code."""
    from sublet.client import kubeconfig as files
    from sublet.client.kubeconfig import ClusterAccess

    async def find() -> ClusterAccess:
        async with host_cluster(kubeconfig, context) as host:
            return (await _endpoint(host, name, namespace, 0, background_proxy))[0].access

    access = run(find())
    with tempfile.TemporaryDirectory(prefix="sublet-") as scratch:
        path = Path(scratch) / "kubeconfig.yaml"
        files.write(path, access, name)
        try:
            return subprocess.run(
                command, env={**os.environ, "KUBECONFIG": str(path)}, check=False
            ).returncode
        except FileNotFoundError:
            raise click.ClickException(f"{command[0]}: command not found") from None


@click.command("connect", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@host_options
@click.option("--print", "print_only", is_flag=True, help="Print the kubeconfig; change no file.")
@click.option("--server", default="", help="Server URL to write instead of the one found.")
@click.option("--local-port", default=0, help="Port of the background proxy; default: any free one.")
@click.option(
    "--background-proxy/--no-background-proxy", default=None,
    help="Always, or never, go through a proxy on this machine; default: where nothing else works.",
)  # fmt: skip
@click.option("--kube-config-context-name", "context_as", default="", help="Name of the context to write.")
def connect(
    name: str,
    command: tuple[str, ...],
    kubeconfig: str | None,
    context: str,
    namespace: str,
    print_only: bool,
    server: str,
    local_port: int,
    background_proxy: bool | None,
    context_as: str,
) -> None:
    """Connect to the tenant cluster NAME, or run COMMAND against it: sublet connect NAME -- kubectl get ns."""
    if command:
        sys.exit(run_command(name, kubeconfig, context, namespace, command, background_proxy))
    run(
        connect_to(
            name, kubeconfig, context, namespace,
            server=server, local_port=local_port, print_only=print_only, context_as=context_as,
            background_proxy=background_proxy,
        )
    )  # fmt: skip


COMMAND = connect
