"""Texts in Go's words."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import codec, gotext


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"spec": {"replicas": "x", "a": None}}, "map[spec:map[a:<nil> replicas:x]]"),
        ([1, True, "b c", 1.5], "[1 true b c 1.5]"),
        (1e21, "1e+21"),
        (2.0, "2"),
        (1.5e-7, "1.5e-07"),
        ({}, "map[]"),
    ],
)
def test_values_are_printed_as_go_prints_them(value: Any, text: str) -> None:
    assert gotext.shown(value) == text


@pytest.mark.parametrize(
    ("read", "kept"),
    [
        ("42.0", "42"),
        ("1e3", "1000"),
        ("1.5", "1.5"),
        ("9223372036854775807", "9223372036854775807"),
        ("18446744073709551615", "18446744073709552000"),
        ("1e20", "100000000000000000000"),
        ("1e300", "1e300"),
        ("true", "true"),
        ('"1.0"', '"1.0"'),
    ],
)
def test_numbers_without_a_type_are_kept_as_go_keeps_them(read: str, kept: str) -> None:
    value = codec.decode_json(f'{{"a": [{{"b": {read}}}]}}')
    gotext.settle_numbers(value)
    assert codec.encode_json(value).decode() == f'{{"a":[{{"b":{kept}}}]}}'


@given(
    st.recursive(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_numbers_that_are_settled_stay_as_they_are(value: Any) -> None:
    gotext.settle_numbers(value)
    first = codec.encode_json(value)
    again = codec.decode_json(first)
    gotext.settle_numbers(again)
    assert codec.encode_json(again) == first


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b'"abc', "unexpected end of JSON input"),
        (b"abc", "invalid character 'a' looking for beginning of value"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"tru!", "invalid character '!' in literal true (expecting 'e')"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\\u00g0"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b'"a\n"', "invalid character '\\n' in string literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b"-x", "invalid character 'x' in numeric literal"),
    ],
)
def test_malformed_json_is_told_of_in_gos_words(data: bytes, text: str) -> None:
    assert gotext.json_error(data) == text
    assert gotext.json_error(b" " * 70_000 + data) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a":' + b"[" * 1_500_000, "invalid character '[' exceeded max depth"),
        (b"[" * 1_500 + b"1," * 40_000, ""),  # deeper than this program reads
        (b"[" + b'{"a":1},' * 400_000 + b"{]", "invalid character ']' looking for beginning of object key string"),
        (b'{"a":"' + b"a" * 3_000_000, "unexpected end of JSON input"),
        (b"[" + b"1" * 3_000_000 + b".x", "invalid character 'x' after decimal point in numeric literal"),
    ],
)  # fmt: skip
def test_long_texts_that_are_no_json_are_looked_at_quickly(data: bytes, text: str) -> None:
    start = time.process_time()
    assert gotext.json_error(data) == text
    assert time.process_time() - start < 2


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(_json, st.sampled_from([None, 2]))
def test_what_is_json_has_no_error(value: Any, indent: int | None) -> None:
    assert gotext.json_error(json.dumps(value, indent=indent).encode()) == ""


@given(_json, st.data())
def test_a_document_cut_short_has_an_error_unless_it_is_whole(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value).encode()
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        json.loads(cut)
        whole = True
    except ValueError:
        whole = False
    assert (gotext.json_error(cut) == "") == whole
