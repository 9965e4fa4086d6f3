"""URLs as Go reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import gourl


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty url"),
        ("relative/path", "invalid URI for request"),
        (":no/scheme", "missing protocol scheme"),
        ("https://a:b:c/", 'invalid port ":c" after host'),
        ("https://host:8o/", 'invalid port ":8o" after host'),
        ("https://[::1/", "missing ']' in host"),
        ("https://[::1]x/", 'invalid port "x" after host'),
        ("https://ho st/", 'invalid character " " in host name'),
        ("https://host/%zz", 'invalid URL escape "%zz"'),
        ("https://host/%2", 'invalid URL escape "%2"'),
        ("https://ho%41st/", 'invalid URL escape "%41"'),
        ("https://u<ser@host/", "net/url: invalid userinfo"),
        ("https://host/\n", "net/url: invalid control character in URL"),
    ],
)
def test_what_is_no_url_is_told_of_in_gos_words(text: str, reason: str) -> None:
    with pytest.raises(gourl.UnreadableURLError) as raised:
        gourl.parse_request(text)
    assert str(raised.value).startswith("parse ")
    assert str(raised.value).endswith(f": {reason}")


@pytest.mark.parametrize(
    "text", ["/", "/only/a path", "mailto:a@b", "https:://odd", "HTTP://h", "https://h?a b=c d", "*"]
)
def test_paths_opaque_urls_and_spaces_outside_of_hosts_are_fine(text: str) -> None:
    assert gourl.parse_request(text).text == text


def test_parts_are_told_apart() -> None:
    url = gourl.parse("https://me:secret@[fe80::1]:8443/a b/%C3%A9?x=1&x=2+3&;bad&%zz&y#end?")
    assert (url.scheme, url.user, url.host, url.hostname, url.port) == (
        "https", "me:secret", "[fe80::1]:8443", "fe80::1", "8443",
    )  # fmt: skip
    assert url.escaped_path == "/a%20b/%C3%A9"
    assert url.query() == {"x": ["1", "2 3"], "y": [""]}
    assert url.fragment == "end?"


def test_a_request_has_no_fragment() -> None:
    assert gourl.parse_request("/a?b=c#d").raw_query == "b=c#d"


def test_a_relative_url_may_not_look_like_one_with_a_scheme() -> None:
    with pytest.raises(gourl.UnreadableURLError, match="first path segment in URL cannot contain colon"):
        gourl.parse("1a:b/c")
    assert gourl.parse("a/b:c").path == "a/b:c"


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        found = gourl.parse(text)
    except gourl.UnreadableURLError:
        return
    assert isinstance(found.escaped_path, str)
    assert all(isinstance(key, str) for key in found.query())
