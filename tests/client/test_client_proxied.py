"""Paths of the proxy subresource and the links of proxied pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.client import proxied, proxiedpages

PREFIX = "/api/v1/namespaces/proxy-7/services/http:proxy-web:80/proxy"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"{PREFIX}/a/b", ("http", "proxy-web", "80", "/a/b")),
        ("/api/v1/namespaces/d/pods/web/proxy", ("", "web", "", "")),
        ("/api/v1/namespaces/d/pods/web:8080/proxy/", ("", "web", "8080", "/")),
        ("/api/v1/namespaces/d/pods/:web:x/proxy/proxy/", ("", "web", "x", "/proxy/")),
        ("/api/v1/nodes/n1%3A10250/proxy/logs/", ("", "n1", "10250", "/logs/")),
    ],
)
def test_a_path_is_taken_apart(path: str, found: tuple[str, ...]) -> None:
    parts = proxied.split(path)
    assert parts is not None
    assert (parts.scheme, parts.name, parts.port, parts.rest) == found
    assert parts.prefix + parts.rest == path


@pytest.mark.parametrize("name", ["ftp:web:80", "a:b:c:d", ":", "http::80"])
def test_names_that_make_no_sense_are_none(name: str) -> None:
    assert proxied.split(f"/api/v1/namespaces/d/pods/{name}/proxy/") is None


@pytest.mark.parametrize(
    ("rest", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a//b/", "/a/b/"),
        ("/a/../../../etc/passwd", "/etc/passwd"),
        ("/a/%2e%2e/%2E/b%20c", "/b%20c"),
    ],
)
def test_targets_are_never_above_the_root(rest: str, target: str) -> None:
    parts = proxied.split(PREFIX + rest)
    assert parts is not None
    assert parts.target == target


@given(st.lists(st.sampled_from(["a", "..", ".", "", "%2e%2e", "b%2Fc"]), max_size=8))
def test_no_target_climbs(segments: list[str]) -> None:
    parts = proxied.split(f"{PREFIX}/" + "/".join(segments))
    assert parts is not None
    assert not {"..", ".", "%2e%2e"} & set(parts.target.split("/"))
    again = proxied.split(PREFIX + parts.target)
    assert again is not None
    assert again.target == parts.target


@pytest.mark.parametrize(
    ("link", "made"),
    [
        ("/login?next=/x#top", f"{PREFIX}/login?next=/x#top"),
        ("login", "login"),
        ("https://elsewhere/x", "https://elsewhere/x"),
        ("http://front:8443/x/", f"{PREFIX}/x/"),
        (f"{PREFIX}/there", f"{PREFIX}/there"),
    ],
)
def test_links_stay_below_the_proxy(link: str, made: str) -> None:
    assert proxied.relocated(link, PREFIX, ("front:8443",)) == made


def test_only_links_in_elements_are_rewritten() -> None:
    page = (
        '<!DOCTYPE html>\r\n<a class="/x" href="/a?b&amp;c">/a</a>\n<img src=/i.png><!-- <a href="/no"> -->\n'
        "<script>var a = '<a href=\"/no\">';</script><a href='rel'>é</a>"
    )
    assert proxiedpages.rewritten(page, lambda link: "P" + link if link[0] == "/" else link) == (
        '<!DOCTYPE html>\r\n<a class="/x" href="P/a?b&amp;c">/a</a>\n<img src="P/i.png"><!-- <a href="/no"> -->\n'
        "<script>var a = '<a href=\"/no\">';</script><a href='rel'>é</a>"
    )


@given(st.text(alphabet="<>a=\"'/ \n\r!-hrefi&;\u2028", max_size=60))
def test_a_page_whose_links_stay_is_the_same_page(page: str) -> None:
    assert proxiedpages.rewritten(page, lambda link: link) == page
