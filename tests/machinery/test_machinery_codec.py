"""YAML bodies become the JSON values that Kubernetes' own converter makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery.codec import (
    DecodeError,
    decode_json,
    decode_yaml,
    decode_yaml_documents,
    encode_json,
    encode_yaml,
)

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_values)
def test_yaml_written_is_read_back_alike(value):
    assert decode_yaml(encode_yaml(value)) == value


@given(_values)
def test_json_written_is_read_back_alike(value):
    assert decode_json(encode_json(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-01-02", "2020-01-02"),
        ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
        ("yes", True),
        ("Off", False),
        ("0777", 511),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e3", 1000),
        ("0.5", 0.5),
        ("12:30", "12:30"),
        ("~", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!int '3'", 3),
        ("!!binary aGk=", "hi"),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        ("099", 99),
    ],
)
def test_scalars_mean_what_go_reads(text, value):
    assert decode_yaml(text) == value


def test_keys_become_strings():
    assert decode_yaml("1: a\ntrue: b\n1.5: c") == {"1": "a", "true": "b", "1.5": "c"}


def test_merge_keys_and_aliases_give_independent_copies():
    value = decode_yaml("base: &b {x: [1]}\none: {<<: *b, z: 2}\ntwo: *b\n")
    assert value == {"base": {"x": [1]}, "one": {"x": [1], "z": 2}, "two": {"x": [1]}}
    assert value["base"]["x"] is not value["two"]["x"]


def test_a_bomb_of_aliases_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(DecodeError, match="excessive aliasing"):
        decode_yaml("\n".join(lines))


def test_an_error_names_its_line_as_go_yaml_counts():
    with pytest.raises(DecodeError, match=r"^error converting YAML to JSON: yaml: line 1: did not find"):
        decode_yaml("a: 1\nb: [}")
    with pytest.raises(DecodeError, match=r"yaml: line 2: mapping values are not allowed in this context$"):
        decode_yaml("a: 1\nb: c: d")
    with pytest.raises(DecodeError, match=r"yaml: mapping values are not allowed in this context$"):
        decode_yaml("b: c: d")
    with pytest.raises(DecodeError, match="invalid UTF-8"):
        decode_yaml(b"\xff\xfe\xfd")


def test_duplicate_keys_are_reported_and_the_last_counts():
    duplicates: list[str] = []
    assert decode_yaml("a: 1\nb:\n  c: 1\n  c: 2\n", duplicates) == {"a": 1, "b": {"c": 2}}
    assert duplicates == ['line 4: key "c" already set in map']


def test_a_body_is_one_document():
    assert decode_yaml("---\na: 1\n---\n") == {"a": 1}
    with pytest.raises(DecodeError, match="more than one document"):
        decode_yaml("a: 1\n---\nb: 2\n")


def test_a_file_may_hold_several_documents():
    assert decode_yaml_documents("# none\n---\na: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert decode_yaml("") is None


def test_yaml_is_written_as_kubectl_prints_it():
    text = encode_yaml({"b": ["x", {"k": "yes"}], "a": "l1\nl2\n", "n": "1e3", "z": {}})
    assert text.decode() == 'a: |\n  l1\n  l2\nb:\n- x\n- k: "yes"\n"n": "1e3"\nz: {}\n'


def test_bad_json_is_a_decode_error():
    with pytest.raises(DecodeError):
        decode_json("{")
