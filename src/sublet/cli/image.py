"""``sublet image``: sublet's own image as an archive, made offline."""

from __future__ import annotations

from pathlib import Path

import click

from sublet.cli.output import done, info


@click.group("image")
def image() -> None:
    """Work with sublet's own container image."""


@image.command("build")
@click.option("-o", "--output", "path", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--name", default="", help="Name and tag; default: docker.io/library/sublet:VERSION.")
def build(path: Path, name: str) -> None:
    """Write sublet's image as an OCI and docker archive, from this interpreter, offline."""
    from sublet.tenants import image as images

    try:
        built = images.build(path, name, progress=info)
    except images.ImageError as error:
        raise click.ClickException(str(error)) from None
    done(f"{built.name} ({built.size / 1e6:.0f} MB) written to {built.path}")


COMMAND = image
