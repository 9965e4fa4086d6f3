"""Runs the conformance tests and prints passed/total by area and group; a row without a test counts as failed.

Arguments: ``-o json`` for JSON instead of the table, ``-v`` for the names of failed and missing rows (of groups
that have tests), ``-n COUNT`` for parallel processes (default 2). Anything else goes to pytest.
Exit code: 0 when every row that has a test passed and the names of all tests are right.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conformance_names import Row, faults, rows


@dataclass
class Results:
    """A pytest plug-in that notes how each row's test went."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """By node id: ``passed``, or ``failed`` when any phase of the test did not pass (a skip is no pass)."""
    names: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = dict(report.user_properties).get("conformance")
        if name is None:
            return
        self.names[report.nodeid] = str(name)
        good = report.passed and self.outcomes.get(report.nodeid, "passed") == "passed"
        self.outcomes[report.nodeid] = "passed" if good else "failed"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(f"{report.nodeid} could not be collected")

    def by_name(self) -> dict[str, bool]:
        passed: dict[str, bool] = {}
        for node, name in self.names.items():
            passed[name] = passed.get(name, True) and self.outcomes[node] == "passed"
        return passed


def summary(passed: dict[str, bool], wrong: list[str]) -> dict[str, Any]:
    """Numbers by group and area, and the names behind them."""
    cells: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: {"passed": 0, "tested": 0, "total": 0})
    for row in rows():
        for area in (row.area, "total"):
            cell = cells[row.group, area]
            cell["total"] += 1
            cell["tested"] += row.name in passed
            cell["passed"] += passed.get(row.name, False)
    groups = sorted({group for group, _ in cells})
    return {
        "groups": {str(group): {a: cell for (g, a), cell in cells.items() if g == group} for group in groups},
        "failed": [row.name for row in rows() if not passed.get(row.name, True)],
        "untested": {str(group): names(missing(passed, group)) for group in groups},
        "faults": wrong,
    }


def missing(passed: dict[str, bool], group: int) -> list[Row]:
    return [row for row in rows() if row.group == group and row.name not in passed]


def names(found: list[Row]) -> list[str]:
    return [row.name for row in found]


def print_table(result: dict[str, Any], verbose: bool) -> None:
    areas = [area for area in result["groups"]["1"] if area != "total"]
    areas += [a for group in result["groups"].values() for a in group if a not in areas and a != "total"]
    areas = [*sorted(set(areas)), "total"]
    print(f"\n{'passed/total':24}" + "".join(f"{'group ' + group:>12}" for group in result["groups"]))
    for area in areas:
        cells = [group.get(area) for group in result["groups"].values()]
        shown = "".join(f"{_cell(cell):>12}" for cell in cells)
        print(f"{area:24}{shown}")
    for group, by_area in result["groups"].items():
        total = by_area["total"]
        print(f"group {group}: {total['passed']} passed of {total['total']}, {total['tested']} have a test")
    for name in result["failed"]:
        print(f"FAILED   {name}")
    for group, untested in result["untested"].items():
        if verbose and result["groups"][group]["total"]["tested"]:
            for name in untested:
                print(f"NO TEST  {name}")
    for fault in result["faults"]:
        print(f"WRONG    {fault}")


def _cell(numbers: dict[str, int] | None) -> str:
    return f"{numbers['passed']}/{numbers['total']}" if numbers else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description="passed/total of the conformance tests by area and group")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("-v", "--verbose", action="store_true", help="name the rows without a test")
    parser.add_argument("-n", "--processes", type=int, default=2)
    options, rest = parser.parse_known_args()
    results = Results()
    arguments = [str(Path(__file__).parent), "-q", "--tb=short", "-p", "no:cacheprovider"]
    arguments += ["-n", str(options.processes), "--dist", "loadfile"] if options.processes > 1 else []
    shown = sys.stderr if options.output == "json" else sys.stdout
    with contextlib.redirect_stdout(shown):
        code = pytest.main([*arguments, *rest], plugins=[results])
    wrong = results.broken + faults(results.names.values())
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        wrong.append(f"pytest ended with {code!r}")
    result = summary(results.by_name(), wrong)
    if options.output == "json":
        print(json.dumps(result, indent=2))
    else:
        print_table(result, options.verbose)
    return 1 if result["failed"] or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
