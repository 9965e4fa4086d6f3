"""``sublet token``: bootstrap tokens with which machines join as nodes."""

from __future__ import annotations

from collections.abc import Callable

import click

from sublet.cli.common import host_cluster, run
from sublet.cli.output import done, print_table


def options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--context", default="", help="Context of the control plane.")(command)
    return click.option("--kubeconfig", type=click.Path(), default=None, help="Default: $KUBECONFIG.")(
        command
    )


@click.group("token")
def token() -> None:
    """Manage bootstrap tokens of a control plane with nodes of its own."""


@token.command("create")
@options
@click.option("--expires", default="1h", show_default=True, help="Such as 30m, 24h; 0: never.")
@click.option("--description", default="")
def create(kubeconfig: str | None, context: str, expires: str, description: str) -> None:
    """Create a token and print the command that joins a machine."""
    from sublet.client.kubeconfig import load
    from sublet.machinery.clock import SystemClock
    from sublet.node.join import public_key_hash
    from sublet.node.joining import create_token

    seconds = parse_duration(expires)

    async def main() -> str:
        async with host_cluster(kubeconfig, context) as cluster:
            return await create_token(cluster.client, SystemClock(), seconds, description)

    made = run(main())
    access = load(kubeconfig, context)
    click.echo(
        f"sublet node join --server {access.server} --token {made} "
        f"--ca-cert-hash {public_key_hash(access.ca_data)}"
    )


@token.command("list")
@options
def list_(kubeconfig: str | None, context: str) -> None:
    """List bootstrap tokens."""
    import base64

    from sublet.kinds.resources import resource

    async def main() -> list[dict[str, str]]:
        async with host_cluster(kubeconfig, context) as cluster:
            found = await cluster.client.list(
                resource("secrets"), "kube-system", field_selector="type=bootstrap.kubernetes.io/token"
            )
        return [
            {key: base64.b64decode(value).decode() for key, value in (item.get("data") or {}).items()}
            for item in found["items"]
        ]

    rows = [
        (
            f"{t.get('token-id')}.{t.get('token-secret')}",
            t.get("expiration", "<never>"),
            t.get("description", ""),
        )
        for t in run(main())
    ]
    print_table(("TOKEN", "EXPIRES", "DESCRIPTION"), rows)


@token.command("delete")
@click.argument("token_id")
@options
def delete(token_id: str, kubeconfig: str | None, context: str) -> None:
    """Delete a token by its id (the part before the dot) or as a whole."""
    from sublet.kinds.resources import resource

    identity = token_id.partition(".")[0]

    async def main() -> None:
        async with host_cluster(kubeconfig, context) as cluster:
            await cluster.client.delete(resource("secrets"), f"bootstrap-token-{identity}", "kube-system")

    run(main())
    done(f"bootstrap token {identity} deleted")


def parse_duration(text: str) -> float:
    """``1h30m``, ``45s``, ``0`` in seconds."""
    import re

    if text == "0":
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise click.BadParameter(f"{text!r} is no duration such as 30m or 24h", param_hint="--expires")
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)


COMMAND = token
