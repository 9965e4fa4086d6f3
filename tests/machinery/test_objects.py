"""Times of objects."""

from __future__ import annotations

import pytest

from sublet.machinery.objects import parse_time, rfc3339, rfc3339_micro, since


@pytest.mark.parametrize("text", ["0001-01-01T00:00:02Z", "0999-12-31T23:59:59Z", "2026-01-02T03:04:05Z"])
def test_years_have_four_digits(text: str) -> None:
    assert rfc3339(parse_time(text)) == text
    assert rfc3339_micro(parse_time(text)) == text.replace("Z", ".000000Z")


def test_a_condition_that_says_no_time_took_its_status_long_ago() -> None:
    assert since({"lastTransitionTime": "1970-01-01T00:01:00Z"}) == 60.0
    assert since({"lastTransitionTime": None}) == since({}) == 0.0
