"""``sublet create``: a tenant cluster on the host cluster of the current context."""

from __future__ import annotations

from pathlib import Path

import click

from sublet.cli.common import Host, host_cluster, host_options, local_tenants, run
from sublet.cli.output import done, info, step


@click.command("create")
@click.argument("name")
@host_options
@click.option(
    "-f", "--values", multiple=True, type=click.Path(path_type=Path), help="sublet.yaml; repeatable."
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="One key of sublet.yaml; repeatable.")
@click.option(
    "--kubernetes-version", default="", help="The tenant's Kubernetes, 1.30 to 1.37; default: 1.36."
)
@click.option("--image", default="", help="sublet's image on the host's nodes; default: sublet:VERSION.")
@click.option("--create-namespace/--no-create-namespace", default=True, show_default=True)
@click.option("--upgrade", is_flag=True, help="Change the tenant if it exists.")
@click.option("--connect/--no-connect", default=False, show_default=True, help="Connect once it is there.")
@click.option(
    "--driver", type=click.Choice(["auto", "kubernetes", "local"]), default="auto", show_default=True,
    help="Where the control plane runs: a pod of the host, or a process here (auto: where nodes are hollow).",
)  # fmt: skip
@click.option("--expose", is_flag=True, help="Give the tenant's API a LoadBalancer Service.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait until it is ready.")
def create(
    name: str,
    kubeconfig: str | None,
    context: str,
    namespace: str,
    values: tuple[Path, ...],
    sets: tuple[str, ...],
    kubernetes_version: str,
    image: str,
    create_namespace: bool,
    upgrade: bool,
    connect: bool,
    driver: str,
    expose: bool,
    timeout: float,
) -> None:
    """Create the tenant cluster NAME."""
    from sublet.controlplane import config
    from sublet.machinery import codec
    from sublet.tenants.kubernetes import Tenants
    from sublet.tenants.manifests import check_name, default_namespace, parse_values

    check_name(name)
    files = [(str(path), path.read_bytes()) for path in values]
    flags = ["controlPlane.service.spec.type=LoadBalancer"] if expose else []
    if kubernetes_version:
        flags.append(f"controlPlane.distro.k8s.version=v{kubernetes_version.removeprefix('v')}")
    document = parse_values(files, [*sets, *flags])
    configuration = config.load(document)
    namespace = namespace or default_namespace(name)
    image = image or configuration.control_plane.stateful_set.image.name

    async def main() -> None:
        async with host_cluster(kubeconfig, context) as host:
            tenants = Tenants(host.client)
            with step(f"Creating tenant {name} in namespace {namespace}"):
                if driver == "local" or (driver == "auto" and await _only_hollow_nodes(host)):
                    await local_tenants(host).create(
                        name, namespace, configuration, codec.encode_yaml(document).decode(), host.access, tenants,
                        progress=info,
                    )  # fmt: skip
                    return
                await tenants.create(
                    name, namespace, configuration, codec.encode_yaml(document).decode(), image,
                    create_namespace=create_namespace, upgrade=upgrade, timeout=timeout, progress=info,
                )  # fmt: skip

    run(main())
    done(f"Successfully created tenant cluster {name} in namespace {namespace}")
    if connect:
        from sublet.cli.connect import connect_to

        run(connect_to(name, kubeconfig, context, namespace))
    else:
        info(f"- Use `sublet connect {name} --namespace {namespace}` to access the tenant cluster")


async def _only_hollow_nodes(host: Host) -> bool:
    """Whether the host can run no container: all its nodes only report."""
    from sublet.kinds.resources import resource
    from sublet.machinery.status import Forbidden

    try:
        nodes = (await host.client.list(resource("nodes")))["items"]
    except Forbidden:
        return False
    versions = [
        ((n.get("status") or {}).get("nodeInfo") or {}).get("containerRuntimeVersion", "") for n in nodes
    ]
    return bool(versions) and all(version.startswith("hollow://") for version in versions)


COMMAND = create
