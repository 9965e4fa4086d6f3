"""Quantities are exact and have one canonical notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import quantity
from sublet.machinery.quantity import Quantity, parse


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"), ("100m", "100m"), ("0.1", "100m"), ("1.5Gi", "1536Mi"), ("1024Mi", "1Gi"), ("1000Mi", "1000Mi"),
        ("512Ki", "512Ki"), ("1000", "1k"), ("1500", "1500"), ("1e3", "1e3"), ("12e4", "120e3"), ("1E", "1E"),
        ("0.5Ki", "512"), ("0.5Mi", "512Ki"), ("-1.5", "-1500m"), ("+2", "2"), ("1n", "1n"), ("0.1n", "1n"),
        (".5", "500m"), ("5.", "5"), ("1e-3", "1e-3"), ("0.001Ki", "1024m"), ("1023", "1023"), ("1025Ki", "1025Ki"),
        ("99999999999999999999", "9223372036854775807"), ("1e999999999", "9223372036854775807"),
    ],
)  # fmt: skip
def test_canonical_notation(text, canonical):
    assert parse(text).canonical() == canonical


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", ".", "-", " 1", "1 ", "1\n", "1,5"])
def test_what_is_no_quantity_is_told_the_pattern(text):
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse(text)


@pytest.mark.parametrize("text", ["1KK", "1mi", "1K", "1e"])
def test_an_unknown_suffix_is_refused(text):
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        parse(text)


@pytest.mark.parametrize(("given", "nano"), [(2, 2 * 10**9), (0.5, 5 * 10**8), (1e-05, 10**4)])
def test_numbers_are_quantities_too(given, nano):
    assert parse(given).nano == nano


def test_a_boolean_is_no_quantity():
    with pytest.raises(ValueError):
        parse(True)
    assert not quantity.valid(None) and not quantity.valid([]) and quantity.valid("1Gi")


def test_units_are_rounded_away_from_zero():
    assert parse("1m").value() == 1 and parse("-1m").value() == -1 and parse("1500m").value() == 2
    assert parse("1n").milli() == 1 and parse("250m").milli() == 250


def test_comparison_is_by_value():
    assert parse("1Ki") == parse("1024") and hash(parse("1Ki")) == hash(parse("1024"))
    assert parse("1Gi") > parse("1G") and parse("0.1") <= parse("100m")


_quantities = st.builds(
    Quantity,
    st.integers(-(10**24), 10**24),
    st.sampled_from(["DecimalSI", "BinarySI", "DecimalExponent"]),
)


@given(_quantities)
def test_the_canonical_notation_is_read_back(q):
    again = parse(q.canonical())
    assert again == q and again.canonical() == q.canonical()


@given(_quantities, _quantities)
def test_sums_undo(a, b):
    assert (a + b) - b == a
