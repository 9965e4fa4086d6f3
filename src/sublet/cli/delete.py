"""``sublet delete``: a tenant cluster and everything it had on the host."""

from __future__ import annotations

import click

from sublet.cli.common import find_tenant, host_cluster, host_options, local_tenants, run
from sublet.cli.output import done, info, step


@click.command("delete")
@click.argument("name")
@host_options
@click.option("--keep-pvc", is_flag=True, help="Keep the tenant's data; create takes it up again.")
@click.option("--delete-namespace/--keep-namespace", default=None, help="Default: only if create made it.")
@click.option("--ignore-not-found", is_flag=True, help="Succeed when there is no such tenant.")
@click.option("--grace-period", default=1, show_default=True, help="Seconds its workloads get to end.")
def delete(
    name: str,
    kubeconfig: str | None,
    context: str,
    namespace: str,
    keep_pvc: bool,
    delete_namespace: bool | None,
    ignore_not_found: bool,
    grace_period: int,
) -> None:
    """Delete the tenant cluster NAME with everything in it."""
    from sublet.client import kubeconfig as files
    from sublet.tenants.connect import BackgroundProxy, context_name
    from sublet.tenants.kubernetes import Tenants
    from sublet.tenants.manifests import TenantError

    if keep_pvc and delete_namespace is None:
        delete_namespace = False

    async def main() -> tuple[str, bool] | None:
        async with host_cluster(kubeconfig, context) as host:
            tenants = Tenants(host.client)
            try:
                tenant = await find_tenant(host, name, namespace)
            except TenantError:
                if ignore_not_found:
                    return None
                raise
            entry = context_name(name, tenant.namespace, host.context)
            BackgroundProxy(entry).stop()
            files.remove(kubeconfig or files.default_path(), entry, current=host.context)
            with step(f"Deleting tenant {name}"):
                if tenant.driver == "local":
                    await local_tenants(host).delete(name)
                removed = await tenants.delete(
                    name, tenant.namespace, keep_pvc=keep_pvc, delete_namespace=delete_namespace,
                    grace=grace_period, progress=info,
                )  # fmt: skip
            return tenant.namespace, removed

    ended = run(main())
    if ended is None:
        info(f"there is no tenant {name}")
        return
    done(f"Successfully deleted tenant cluster {name} in namespace {ended[0]}")
    if ended[1]:
        done(f"Successfully deleted tenant cluster namespace {ended[0]}")


COMMAND = delete
