"""The report counts what it should, and every test carries the name of a row of its own."""

from __future__ import annotations

import pytest
from conformance_names import faults, rows
from report import Results, summary


def names(session: pytest.Session) -> list[str]:
    marks = [item.get_closest_marker("conformance") for item in session.items]
    return [mark.args[0] for mark in marks if mark]


def test_every_test_has_a_row_of_its_own(request: pytest.FixtureRequest) -> None:
    assert faults(names(request.session)) == []


def test_a_wrong_and_a_double_name_are_told() -> None:
    name = rows()[0].name
    assert faults([name, name, "no such test"]) == [
        "no row of conformance-tests.tsv is named 'no such test'",
        f"2 tests are named {name!r}",
    ]


def test_a_row_without_a_test_counts_as_not_passed() -> None:
    first, second, third = [row.name for row in rows() if row.group == 1 and row.area == "sig-node"][:3]
    result = summary({first: True, second: False}, [])
    assert result["groups"]["1"]["sig-node"] == {"passed": 1, "tested": 2, "total": 19}
    assert result["groups"]["1"]["total"] == {"passed": 1, "tested": 2, "total": 118}
    assert result["failed"] == [second]
    assert first not in result["untested"]["1"] and third in result["untested"]["1"]


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_any_phase_that_does_not_pass_fails_the_row(phase: str, outcome: str) -> None:
    results = Results()
    for when in ("setup", "call", "teardown"):
        report = pytest.TestReport(
            "node", ("file", 0, "test"), {}, outcome if when == phase else "passed", None, when,  # type: ignore[arg-type]
            user_properties=[("conformance", "name")],
        )  # fmt: skip
        results.pytest_runtest_logreport(report)
    assert results.by_name() == {"name": False}
