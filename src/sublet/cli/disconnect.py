"""``sublet disconnect``: back to the context a tenant was reached from."""

from __future__ import annotations

import click

from sublet.cli.output import done


@click.command("disconnect")
@click.option("--kubeconfig", type=click.Path(), default=None, help="Default: $KUBECONFIG, ~/.kube/config.")
def disconnect(kubeconfig: str | None) -> None:
    """Switch back to the kube context that was active before connecting."""
    from sublet.client import kubeconfig as files
    from sublet.tenants.connect import parse_context

    names, current = files.contexts(kubeconfig)
    parsed = parse_context(current)
    if parsed is None:
        raise click.ClickException(
            f'current selected context "{current}" is not a tenant cluster context; `sublet connect NAME` makes one'
        )
    if parsed[2] not in names:
        raise click.ClickException(
            f"the context {parsed[2]} that {parsed[0]} was reached from is no longer in the kubeconfig; "
            "kubectl config use-context NAME selects another"
        )
    files.use(kubeconfig or files.default_path(), parsed[2])
    done(f"Successfully disconnected and switched back to the original context: {parsed[2]}")


COMMAND = disconnect
