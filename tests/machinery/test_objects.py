"""Times of objects."""

from __future__ import annotations

import pytest

from sublet.machinery.objects import parse_time, rfc3339, rfc3339_micro


@pytest.mark.parametrize("text", ["0001-01-01T00:00:02Z", "0999-12-31T23:59:59Z", "2026-01-02T03:04:05Z"])
def test_years_have_four_digits(text: str) -> None:
    assert rfc3339(parse_time(text)) == text
    assert rfc3339_micro(parse_time(text)) == text.replace("Z", ".000000Z")
