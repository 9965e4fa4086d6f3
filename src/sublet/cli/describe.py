"""``sublet describe``: one tenant in detail."""

from __future__ import annotations

import click

from sublet.cli.common import find_tenant, host_cluster, host_options, local_tenants, run
from sublet.cli.output import output_option, print_document


@click.command("describe")
@click.argument("name")
@host_options
@click.option("--config-only", is_flag=True, help="Print only the tenant's sublet.yaml.")
@output_option
def describe(
    name: str, kubeconfig: str | None, context: str, namespace: str, config_only: bool, output: str | None
) -> None:
    """Describe the tenant cluster NAME."""
    from sublet.controlplane.config import load
    from sublet.machinery import codec
    from sublet.machinery.objects import rfc3339
    from sublet.tenants.kubernetes import Tenant, Tenants

    async def main() -> tuple[Tenant, str]:
        async with host_cluster(kubeconfig, context) as host:
            tenant = await find_tenant(host, name, namespace)
            if tenant.driver == "local":
                return tenant, local_tenants(host).configuration(name)
            return tenant, await Tenants(host.client).configuration(tenant)

    tenant, text = run(main())
    if config_only:
        click.echo(text, nl=False)
        return
    configuration = load(codec.decode_yaml_file(text))
    external = configuration.control_plane.backing_store.database.external
    document = {
        "name": tenant.name,
        "namespace": tenant.namespace,
        "version": tenant.version,
        "kubernetesVersion": configuration.minor,
        "backingStore": external.data_source.split(":")[0]
        if external.enabled
        else "embedded-database (sqlite)",
        "created": rfc3339(tenant.created),
        "status": tenant.status,
        "driver": tenant.driver,
        "imageTags": {"controlPlane": tenant.image},
        "userConfigYaml": text,
    }
    if output in ("json", "yaml"):
        print_document(document, output)
        return
    if output == "name":
        click.echo(tenant.name)
        return
    for label, key in (
        ("Name", "name"), ("Namespace", "namespace"), ("Version", "version"),
        ("Kubernetes", "kubernetesVersion"), ("Backing Store", "backingStore"), ("Created", "created"),
        ("Status", "status"), ("Driver", "driver"),
    ):  # fmt: skip
        click.echo(f"{label + ':':<16}{document[key]}")
    click.echo(
        f"{'Image:':<16}{tenant.image or '(none: a process of this machine)'}\n\n---- sublet.yaml ----"
    )
    click.echo(text if text.strip() not in ("", "{}") else "(defaults)")


COMMAND = describe
