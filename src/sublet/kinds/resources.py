"""Built-in resources by name, for everything that addresses objects (``data/api-resources.tsv``)."""

from __future__ import annotations

import csv
import importlib.resources
from functools import cache
from typing import Any

from sublet.machinery.kind import Resource


@cache
def rows() -> tuple[dict[str, str], ...]:
    """The rows of the table of built-in resources (Kubernetes 1.36), as they stand."""
    text = importlib.resources.files("sublet.kinds").joinpath("data/api-resources.tsv").read_text("utf-8")
    table: Any = csv.DictReader(text.splitlines(), delimiter="\t")
    return tuple(table)


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
