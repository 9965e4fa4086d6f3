"""The ``sublet`` command itself: finds its commands in this folder and imports only the one that is asked for."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from sublet import __version__, cli
from sublet.cli.output import report_error
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import StatusError

_NOT_COMMANDS = frozenset({"main", "output", "common"})


class _Commands(click.Group):
    """Commands by file name: ``cli/create.py`` states ``COMMAND``, and so ``sublet create`` exists."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(cli.__path__)
            if module.name not in _NOT_COMMANDS
        )

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"sublet.cli.{name.replace('-', '_')}")
        command: click.Command = module.COMMAND
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            nearest = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise click.UsageError(error.format_message() + hint, ctx) from None


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, "-V", "--version", prog_name="sublet")
def sublet() -> None:
    """sublet gives every tenant a Kubernetes cluster of their own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors a user can act on become one line and exit code 1; usage errors exit with 2."""
    try:
        sublet.main(arguments, prog_name="sublet", standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        what = error.strerror or str(error)
        report_error(f"{error.filename}: {what}" if error.filename else what)
        sys.exit(1)
    except (StatusError, ConfigurationError, RuntimeError) as error:
        report_error(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
