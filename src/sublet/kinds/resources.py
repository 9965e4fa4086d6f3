"""Built-in resources by name, for everything that addresses objects (``data/api-resources.tsv``)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sublet.machinery.kind import Resource

DATA = Path(__file__).parent / "data"


def table(name: str) -> list[list[str]]:
    """The lines of a table of facts, its header first, as cells."""
    return [line.split("\t") for line in (DATA / name).read_text("utf-8").splitlines() if line]


@cache
def rows() -> tuple[dict[str, str], ...]:
    """The rows of the table of built-in resources (Kubernetes 1.36), as they stand."""
    header, *lines = table("api-resources.tsv")
    return tuple(dict(zip(header, line, strict=True)) for line in lines)


@cache
def resource(name: str, version: str = "") -> Resource:
    """``resource("pods")``, ``resource("deployments.apps")``; ``version`` where the preferred one is not meant.

    The preferred version is the first in the table. Raises ``KeyError``.
    """
    plural, _, group = name.partition(".")
    for row in rows():
        if (row["resource"], row["group"]) == (plural, group) and row["version"] == (
            version or row["version"]
        ):
            return Resource(group, row["version"], plural, row["kind"], row["scope"] == "Namespaced")
    raise KeyError(f"no built-in resource {name!r} {version}".rstrip())


@cache
def registered(group: str, version: str, kind: str) -> bool:
    """Whether the table has this kind in this very version."""
    wanted = (group, version, kind)
    return any((row["group"], row["version"], row["kind"]) == wanted for row in rows())
