"""Selectors read, match and print as Kubernetes'."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import selectors
from sublet.machinery.selectors import from_label_selector, parse, parse_fields
from sublet.machinery.status import BadRequest


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a", {"a": ""}, True), ("a", {}, False), ("!a", {}, True), ("! a", {"a": "1"}, False),
        ("a=1", {"a": "1"}, True), ("a==1", {"a": "2"}, False), ("a!=1", {}, True), ("a!=1", {"a": "1"}, False),
        ("a in (1,2)", {"a": "2"}, True), ("a notin (1,2)", {}, True), ("a notin (1)", {"a": "1"}, False),
        ("a>1", {"a": "2"}, True), ("a<1", {"a": "x"}, False), ("a>1", {}, False), ("a=", {"a": ""}, True),
        ("a,b=1", {"a": "", "b": "1"}, True), ("in in (in)", {"in": "in"}, True), ("a in (,x)", {"a": ""}, True),
        ("x.io/a = b , c", {"x.io/a": "b", "c": ""}, True), ("", {"a": "1"}, True),
    ],
)  # fmt: skip
def test_label_selectors_match(text, labels, expected):
    assert parse(text).matches(labels) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in ()", "unable to parse requirement: values: Invalid value: []: "
                    "for 'in', 'notin' operators, values set can't be empty"),
        ("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": "
                "for 'Gt', 'Lt' operators, the value must be an integer"),
    ],
)  # fmt: skip
def test_a_bad_selector_is_told_what_was_expected(text, message):
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert caught.value.message == message


def test_bad_keys_and_values_name_their_place():
    with pytest.raises(
        BadRequest, match=r'^unable to parse requirement: <nil>: Invalid value: "a_": name part'
    ):
        parse("a_=1")
    with pytest.raises(
        BadRequest, match=r'^unable to parse requirement: values\[0\]\[a\]: Invalid value: "_"'
    ):
        parse("a=_")


def test_a_label_selector_object():
    selector = from_label_selector(
        {
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["y", "x"]},
                {"key": "c", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == "a in (x,y),b=1,!c"
    assert selector.matches({"a": "x", "b": "1"}) and not selector.matches({"a": "x", "b": "1", "c": ""})


def test_absent_selects_nothing_and_empty_everything():
    assert not from_label_selector(None).matches({}) and not from_label_selector(None).everything
    assert from_label_selector({}).everything and from_label_selector({}).matches({"a": "b"})


def test_an_unknown_operator_is_named():
    with pytest.raises(BadRequest, match='"Is" is not a valid label selector operator'):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "Is"}]})


_word = st.text("abcxyz019", min_size=1, max_size=4)
_requirement = st.one_of(
    st.builds("{}={}".format, _word, _word),
    st.builds("{}!={}".format, _word, _word),
    st.builds("!{}".format, _word),
    _word,
    st.builds("{} in ({},{})".format, _word, _word, _word),
    st.builds("{} notin ({})".format, _word, _word),
    st.builds("{}>{}".format, _word, st.integers(0, 99)),
)


@given(st.lists(_requirement, max_size=4), st.dictionaries(_word, _word))
def test_a_printed_selector_selects_the_same(parts, labels):
    selector = parse(",".join(parts))
    assert parse(str(selector)).matches(labels) == selector.matches(labels)
    assert str(parse(str(selector))) == str(selector)


def test_field_selectors_match_and_know_exact_values():
    selector = parse_fields("metadata.name=x,status.phase!=Running")
    fields = {"metadata.name": "x", "status.phase": "Pending"}
    assert selector.matches(lambda name: fields.get(name, ""))
    assert selector.exact("metadata.name") == "x" and selector.exact("status.phase") is None
    assert str(selector) == "metadata.name=x,status.phase!=Running"
    assert parse_fields("").everything


def test_field_values_are_unescaped():
    assert parse_fields(r"a=b\,c\=d\\").exact("a") == r"b,c=d" + "\\"
    assert str(parse_fields(r"a=b\,c")) == r"a=b\,c"


@pytest.mark.parametrize("text", ["a", "a>b", r"a=\x", "a=b=c"])
def test_bad_field_selectors_are_refused(text):
    with pytest.raises(BadRequest, match="invalid"):
        parse_fields(text)


def test_from_labels_selects_equality():
    assert str(selectors.from_labels({"b": "2", "a": "1"})) == "a=1,b=2"
