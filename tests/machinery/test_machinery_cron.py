"""Cron schedules: what they say, and what is said of those that are none."""

from __future__ import annotations

import pytest

from sublet.machinery import cron


def fields(text: str) -> cron.Fields:
    found = cron.parse(text)
    assert isinstance(found, cron.Fields)
    return found


def test_a_schedule_is_sets_of_numbers() -> None:
    found = fields("*/20 1-3 1 feb 0,SAT")
    each = (found.minutes, found.hours, found.days, found.months, found.weekdays)
    assert [set(field.values) for field in each] == [{0, 20, 40}, {1, 2, 3}, {1}, {2}, {0, 6}]


def test_a_star_with_a_step_is_no_star_any_more() -> None:
    found = fields("0 0 */2 ? */1")
    assert (found.days.star, found.months.star, found.weekdays.star) == (False, True, True)


def test_a_number_with_a_step_goes_on_to_the_last() -> None:
    assert fields("50/5 0 1 1 0").minutes.values == {50, 55}


def test_empty_entries_of_a_list_say_nothing() -> None:
    assert fields("1,,2, 0 1 1 0").minutes.values == {1, 2}


def test_every_is_a_duration() -> None:
    assert cron.parse("@every 1h30m") == cron.Every(5400)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty spec string"),
        ("* *  * *", "expected exactly 5 fields, found 4: [* * * *]"),
        (" @daily", "expected exactly 5 fields, found 1: [@daily]"),
        ("@Daily", "unrecognized descriptor: @Daily"),
        ("@every 1d", 'failed to parse duration @every 1d: time: unknown unit "d" in duration "1d"'),
        ("@every 5", 'failed to parse duration @every 5: time: missing unit in duration "5"'),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("-1 * * * *", 'failed to parse int from : strconv.Atoi: parsing "": invalid syntax'),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
    ],
)
def test_what_is_no_schedule_is_said_as_kubernetes_says_it(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        cron.parse(text)
    assert str(refused.value) == message
