"""``sublet completion``: shell completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script: source <(sublet completion bash)."""
    from sublet.cli.main import sublet

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(found(sublet, {}, "sublet", "_SUBLET_COMPLETE").source())


COMMAND = completion
