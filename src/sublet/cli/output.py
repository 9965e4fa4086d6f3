"""What the commands print: tables in colour on a terminal and plain in a pipe, JSON and YAML, progress, errors."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from sublet.machinery import codec

output_option = click.option(
    "-o", "--output", type=click.Choice(["json", "yaml", "name"]), default=None,
    help="Print JSON, YAML or names instead of a table.",
)  # fmt: skip

_STATUS_COLOURS = {
    "Running": "green", "Ready": "green", "Pending": "yellow", "Terminating": "yellow", "Stopped": "yellow",
    "Failed": "red", "Unknown": "red", "CrashLoopBackOff": "red",
}  # fmt: skip


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns three spaces apart, as kubectl prints them; known states are coloured on a terminal."""
    cells = [[str(cell) for cell in row] for row in [columns, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for number, row in enumerate(cells):
        parts = []
        for i, cell in enumerate(row):
            padded = cell if i == len(row) - 1 else cell.ljust(widths[i])
            if number == 0:
                padded = click.style(padded, bold=True)
            elif cell in _STATUS_COLOURS:
                padded = click.style(padded, fg=_STATUS_COLOURS[cell])
            parts.append(padded)
        click.echo("   ".join(parts))


def print_document(value: Any, form: str) -> None:
    """``json`` (indented) or ``yaml``."""
    if form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False), nl=False)
    else:
        import msgspec

        click.echo(msgspec.json.format(codec.encode_json(value), indent=4).decode())


def info(message: str) -> None:
    """A line for people, on standard error so that ``-o json`` stays clean."""
    click.echo(message, err=True)


def done(message: str) -> None:
    click.echo(click.style("✓ ", fg="green") + message, err=True)


def warn(message: str) -> None:
    click.echo(click.style("warning: ", fg="yellow") + message, err=True)


def report_error(message: str) -> None:
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """One step of long work: a spinner on a terminal, then a line with its duration; plain in a pipe."""
    started = time.monotonic()
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(f"{title} …"):
            yield
    else:
        yield
    done(f"{title} ({time.monotonic() - started:.1f} s)")


def age(seconds: float) -> str:
    """As kubectl prints ages: ``42s``, ``5m``, ``3h``, ``2d``."""
    seconds = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size or (size > 60 and seconds >= size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
