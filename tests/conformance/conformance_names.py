"""Which test stands for which row of ``conformance-tests.tsv``."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("conformance-tests.tsv")


@dataclass(frozen=True)
class Row:
    """One test of the upstream suite."""

    area: str
    name: str
    group: int
    """1: needs the API only; 2: controllers and a node that only reports; 3: real containers."""


def rows() -> list[Row]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Row(row["area"], row["testname"], int(row["group"])) for row in table]


def conformance(name: str) -> pytest.MarkDecorator:
    """Ties a test to the row of this exact upstream name."""
    return pytest.mark.conformance(name)


def faults(names: Iterable[str]) -> list[str]:
    """What is wrong with the names that tests carry: rows that do not exist, rows with two tests."""
    known = {row.name for row in rows()}
    counted = Counter(names)
    unknown = [f"no row of {TABLE.name} is named {name!r}" for name in counted if name not in known]
    double = [f"{count} tests are named {name!r}" for name, count in counted.items() if count > 1]
    return unknown + double
