"""``sublet list``: the tenants of the host cluster."""

from __future__ import annotations

import time

import click

from sublet.cli.common import all_tenants, host_cluster, host_options, run
from sublet.cli.output import age, info, output_option, print_document, print_table


@click.command("list")
@host_options
@output_option
def list_(kubeconfig: str | None, context: str, namespace: str, output: str | None) -> None:
    """List tenant clusters."""
    from sublet.client.kubeconfig import contexts
    from sublet.machinery.objects import rfc3339
    from sublet.tenants.connect import context_name
    from sublet.tenants.kubernetes import Tenant

    async def main() -> tuple[list[Tenant], str]:
        async with host_cluster(kubeconfig, context) as host:
            return await all_tenants(host, namespace), host.context

    tenants, parent = run(main())
    current = contexts(kubeconfig)[1]
    now = time.time()
    rows = [
        {
            "Name": tenant.name,
            "Namespace": tenant.namespace,
            "Status": tenant.status,
            "Version": tenant.version,
            "Connected": current == context_name(tenant.name, tenant.namespace, parent),
            "Created": rfc3339(tenant.created),
            "AgeSeconds": int(now - tenant.created),
        }
        for tenant in sorted(tenants, key=lambda t: (t.namespace, t.name))
    ]
    if output in ("json", "yaml"):
        print_document(rows, output)
    elif output == "name":
        for row in rows:
            click.echo(row["Name"])
    elif not rows:
        info("no tenant clusters found; `sublet create NAME` makes one")
    else:
        print_table(
            ("NAME", "NAMESPACE", "STATUS", "VERSION", "CONNECTED", "AGE"),
            [
                (r["Name"], r["Namespace"], r["Status"], r["Version"], "True" if r["Connected"] else "",
                 age(now - tenant.created))
                for r, tenant in zip(rows, sorted(tenants, key=lambda t: (t.namespace, t.name)), strict=True)
            ],
        )  # fmt: skip


COMMAND = list_
