"""Names are judged by Kubernetes' rules, in Kubernetes' words."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import names


@pytest.mark.parametrize("value", ["a", "a-b", "0a", "a" * 63])
def test_labels_that_are_good(value):
    assert names.dns1123_label(value) == []


def test_a_bad_label_is_told_the_rule():
    assert names.dns1123_label("Bad_") == [
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
        "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]
    assert names.dns1123_label("a.b") == ["must not contain dots"]
    assert names.dns1123_label("a" * 64) == ["must be no more than 63 characters"]


def test_a_bad_subdomain_is_told_the_rule():
    assert names.dns1123_subdomain("a..b") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.dns1123_subdomain("a.b\n") != []


def test_a_1035_label_starts_with_a_letter():
    assert names.dns1035_label("a1") == []
    assert names.dns1035_label("1a")[0].startswith("a DNS-1035 label must consist of")


@pytest.mark.parametrize("value", ["a", "example.com/A_b.c", "A"])
def test_qualified_names_that_are_good(value):
    assert names.qualified_name(value) == []


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("/a", "prefix part must be non-empty"),
        ("a/", "name part must be non-empty"),
        ("A_/b", "prefix part a lowercase RFC 1123 subdomain"),
        ("a/b/c", "a qualified name must consist of"),
        ("a" * 64, "name part must be no more than 63 bytes"),
        ("-a", "name part must consist of alphanumeric characters"),
    ],
)
def test_qualified_names_that_are_not(value, start):
    assert names.qualified_name(value)[0].startswith(start)


def test_label_values_may_be_empty_but_not_long():
    assert names.label_value("") == []
    assert names.label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert names.label_value("a b")[0].startswith("a valid label must be an empty string or consist of")


def test_path_segments():
    assert names.path_segment("system:a:b") == []
    assert names.path_segment("..") == ["may not be '..'"]
    assert names.path_segment("a/b%") == ["may not contain '/'", "may not contain '%'"]


def test_config_keys_do_not_climb():
    assert names.config_key("a.b_C-1") == []
    assert names.config_key("..") == ["must not be '..'"]
    assert names.config_key("..a") == ["must not start with '..'"]


def test_port_names():
    assert names.port_name("http-1") == []
    assert names.port_name("1") == ["must contain at least one letter (a-z)"]
    assert names.port_name("a--b-") == [
        "must not contain consecutive hyphens",
        "must not begin or end with a hyphen",
    ]


def test_addresses_and_networks():
    assert names.ip_address("10.0.0.1") == names.ip_address("fe80::1") == names.cidr("10.0.0.0/8") == []
    assert names.ip_address("fe80::1%eth0") and names.ip_address("1.2.3.400") and names.cidr("10.0.0.0")


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("1.1.1.01", "must not have leading 0s"),
        ("::ffff:1.1.1.1", "must not be an IPv4-mapped IPv6 address"),
        ("0:0:0:0:0:0:0:0", 'must be in canonical form ("::")'),
        ("1234::ABCD", 'must be in canonical form ("1234::abcd")'),
    ],
)
def test_addresses_are_written_the_one_way(value, wrong):
    assert names.canonical_ip_address(value) == [wrong]
    assert names.ip_address(value) == ([wrong] if "canonical" not in wrong else [])


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
        ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
        ("::ffff:10.0.0.0/104", "must not have an IPv4-mapped IPv6 address"),
        ("10.1.0.0/8", "must not have bits set beyond the prefix length"),
        ("2001:DB8::/32", 'must be in canonical form ("2001:db8::/32")'),
    ],
)
def test_ranges_are_written_the_one_way(value, wrong):
    assert names.canonical_cidr(value) == [wrong]
    assert names.cidr(value) == ([wrong] if "canonical" not in wrong else [])


def test_environment_names_are_printable_without_equals():
    assert names.environment_name("a b.c") == []
    assert names.environment_name("a=b") and names.environment_name("é") and names.environment_name("")


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=80), st.integers())
def test_generated_names_keep_the_base_and_fit_a_label(base, seed):
    made = names.generate(base, random.Random(seed))
    assert len(made) <= 63 and made.startswith(base[:58]) and len(made) == len(base[:58]) + 5
    assert set(made[-5:]) <= set(names.SUFFIX_ALPHABET)


def test_a_prefix_may_end_in_a_dash():
    assert names.dns1123_label(names.mask_trailing_dash("web-")) == []
