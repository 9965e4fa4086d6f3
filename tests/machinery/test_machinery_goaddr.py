"""Addresses and prefixes as Go reads them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import goaddr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unable to parse IP"),
        ("localhost", "unable to parse IP"),
        ("%eth0", "missing IPv6 address"),
        ("1.2.3", "IPv4 address too short"),
        ("1.2.3.4.5", "IPv4 address too long"),
        ("1.2.3.256", "IPv4 field has value >255"),
        ("01.2.3.4", "IPv4 field has octet with leading zero"),
        ("1..3.4", 'IPv4 field must have at least one digit (at ".3.4")'),
        ("1.2.3.4x", 'unexpected character (at "x")'),
        ("2001:db8:::68", 'each colon-separated field must have at least one digit (at ":68")'),
        ("1::2::3", 'multiple :: in address (at ":3")'),
        ("1:2:3", "address string too short"),
        ("1:2:3:4:5:6:7:8:9", 'trailing garbage after address (at "9")'),
        ("1:2:3:4::5:6:7:8", "the :: must expand to at least one field of zeros"),
        ("12345::", 'each group must have 4 or less digits (at "12345::")'),
        ("1:g::", 'each colon-separated field must have at least one digit (at "g::")'),
        ("1:2g::", 'unexpected character, want colon (at "g::")'),
        ("1:2:", 'colon must be followed by more characters (at ":")'),
        ("::1%", "zone must be a non-empty string"),
        ("1:2.3.4.5", 'embedded IPv4 address must replace the final 2 fields of the address (at "2.3.4.5")'),
        ("::1.2.3.256", "IPv4 field has value >255"),
    ],
)
def test_what_is_no_address_is_told_of_in_gos_words(text: str, why: str) -> None:
    with pytest.raises(ValueError) as raised:
        goaddr.parse_address(text)
    assert str(raised.value) == f'ParseAddr("{text}"): {why}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1.2.3.4", "no '/'"),
        ("1.2.3/8", 'ParseAddr("1.2.3"): IPv4 address too short'),
        ("fe80::%a/64", "IPv6 zones cannot be present in a prefix"),
        ("1.2.3.4/", 'bad bits after slash: ""'),
        ("1.2.3.4/08", 'bad bits after slash: "08"'),
        ("1.2.3.4/-1", 'bad bits after slash: "-1"'),
        ("1.2.3.4/33", "prefix length out of range"),
        ("::/129", "prefix length out of range"),
    ],
)
def test_what_is_no_prefix_is_told_of_in_gos_words(text: str, why: str) -> None:
    with pytest.raises(ValueError) as raised:
        goaddr.parse_prefix(text)
    assert str(raised.value) == f'netip.ParsePrefix("{text}"): {why}'


@given(st.ip_addresses())
def test_every_address_is_read(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert goaddr.parse_address(str(address)) == address
    assert goaddr.parse_prefix(f"{address}/8").ip == address


@given(st.text(alphabet="0123456789abcdefg:.%/"))
def test_every_text_is_read_or_refused(text: str) -> None:
    for parse in (goaddr.parse_address, goaddr.parse_prefix):
        try:
            parse(text)
        except ValueError as error:
            assert text in str(error)
