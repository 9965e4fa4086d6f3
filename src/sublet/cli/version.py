"""``sublet version``: this release and the Kubernetes versions it serves."""

from __future__ import annotations

import platform

import click

from sublet import __version__
from sublet.cli.output import output_option, print_document


@click.command("version")
@output_option
def version(output: str | None) -> None:
    """Print the version of sublet and of the Kubernetes API it serves."""
    from sublet.controlplane.config import DEFAULT_MINOR, SUPPORTED_MINORS

    if output in ("json", "yaml"):
        document = {
            "version": __version__,
            "kubernetes": {"default": DEFAULT_MINOR, "served": list(SUPPORTED_MINORS)},
            "python": platform.python_version(),
            "platform": f"{platform.system().lower()}/{platform.machine()}",
        }
        print_document(document, output)
    elif output == "name":
        click.echo(__version__)
    else:
        click.echo(f"sublet {__version__}")
        click.echo(f"Kubernetes {DEFAULT_MINOR} by default ({SUPPORTED_MINORS[0]} to {SUPPORTED_MINORS[-1]})")


COMMAND = version
