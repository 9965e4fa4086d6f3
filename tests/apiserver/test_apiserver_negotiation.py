"""What a client accepts, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver import negotiation
from sublet.apiserver.requestinfo import parse
from sublet.client.client import Client
from sublet.client.exchange import Request, Response
from sublet.machinery.status import NotAcceptable, UnsupportedMediaType

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
KUBECTL = f"{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("header", "fmt", "view"),
    [
        ("", "json", ""),
        ("*/*", "json", ""),
        ("application/json", "json", ""),
        ("application/yaml", "yaml", ""),
        ("application/*", "json", ""),
        (KUBECTL, "json", "Table"),
        ("application/vnd.kubernetes.protobuf", "protobuf", ""),
        ("application/vnd.kubernetes.protobuf,application/json", "protobuf", ""),
        ("application/json;q=0.5, application/yaml", "yaml", ""),
        ("application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "protobuf",
         "PartialObjectMetadataList"),
        ("*/*, application/yaml", "yaml", ""),
        ("*/*, application/yaml;q=0.5", "yaml", ""),
        ("application/yaml;q=0.5, */*", "json", ""),
        ("text/html, *;q=0.1", "json", ""),
        ("application/yaml;q=0", "yaml", ""),
        ("application/yaml;q=high, application/json;q=0.1", "json", ""),
        ("application/json;stream=watch", "json", ""),
        ("application/json;stream=other, application/yaml", "yaml", ""),
        ("application/yaml;stream=watch, application/vnd.kubernetes.protobuf", "protobuf", ""),
        ("application/json;sv=v2, application/yaml;sv=v1", "yaml", ""),
        ("text/html, application/json;as=Nonsense;v=v1;g=meta.k8s.io, application/yaml", "yaml", ""),
        ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", "json", ""),
    ],
)  # fmt: skip
def test_the_first_acceptable_clause_wins(header: str, fmt: str, view: str) -> None:
    found = negotiation.choose(header or "*/*", views=True)
    assert (found.format, found.view) == (fmt, view)


def test_what_nothing_matches_is_refused_naming_what_there_is() -> None:
    with pytest.raises(
        NotAcceptable, match="only the following media types are accepted: application/json, "
    ):
        negotiation.choose("text/html")


def test_a_watch_in_yaml_is_refused_naming_the_streams() -> None:
    request = Request("GET", "/api/v1/pods", "watch=1", {"accept": "application/yaml, application/json"})
    with pytest.raises(NotAcceptable) as refused:
        negotiation.accept(request, parse(request), views=True, watch=True)
    assert refused.value.message == (
        "only the following media types are accepted: application/json;stream=watch, "
        "application/vnd.kubernetes.protobuf;stream=watch"
    )


def test_custom_resources_have_no_protobuf_but_their_metadata_does() -> None:
    with pytest.raises(NotAcceptable):
        negotiation.choose("application/vnd.kubernetes.protobuf", negotiation.TEXT_FORMATS, views=True)
    partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    assert negotiation.choose(partial, negotiation.TEXT_FORMATS, views=True).format == "protobuf"


def test_pretty_follows_the_parameter_and_the_agent() -> None:
    def pretty(query: str, agent: str) -> bool:
        request = Request("GET", "/api", query, {"user-agent": agent})
        return negotiation.accept(request, parse(request)).pretty

    assert pretty("pretty=true", "")
    assert pretty("", "curl/8.0")
    assert not pretty("pretty=false", "curl/8.0")
    assert not pretty("", "kubectl/v1.32")
    assert not pretty("pretty=yes", "curl/8.0")
    assert pretty("pretty=", "curl/8.0")
    assert not pretty("pretty=", "kubectl/v1.32")


async def test_what_cannot_be_told_in_an_accepted_form_is_told_in_indented_json(
    client: Client, read: Callable[[Response], Any]
) -> None:
    answer = await client.raw("GET", "/api/v1/pods", headers={"accept": "text/html"})
    assert (answer.status, answer.header("content-type")) == (406, "application/json")
    assert isinstance(answer.body, bytes)
    assert answer.body.startswith(b'{\n  "kind": "Status",\n  "apiVersion": "v1"')
    assert answer.body.endswith(b"}")


async def test_what_a_row_carries_is_asked_of_tables_only(
    client: Client, read: Callable[[Response], Any]
) -> None:
    path, query = "/api/v1/namespaces", "includeObject=some"
    refused = read(await client.raw("GET", path, query=query, headers={"accept": TABLE}))
    assert refused["message"] == (
        'Unable to convert to Table as requested: includeObject: Invalid value: "some": '
        "must be 'Metadata', 'Object', 'None', or empty"
    )
    assert (await client.raw("GET", path, query=query)).status == 200


def test_an_unknown_content_type_is_refused_naming_what_there_is() -> None:
    with pytest.raises(UnsupportedMediaType, match="accepted media types include: application/json"):
        negotiation.content_format(Request("POST", "/", headers={"content-type": "text/html"}))


def test_yaml_times_stay_strings_and_keys_become_strings() -> None:
    found = negotiation.decode_yaml(b"a: 2020-01-01\n1: x\n")
    assert found == {"a": "2020-01-01", "1": "x"}


def test_yaml_cannot_make_objects_of_python() -> None:
    assert negotiation.decode_yaml(b"!!python/object/apply:os.getcwd []") == []


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("HEAD", "/api/v1/namespaces/default/configmaps", 405),
        ("HEAD", "/api/v1/namespaces/default", 405),
        ("POST", "/api/v1/namespaces/default/pods/x/log", 405),
        ("PUT", "/api/v1/namespaces/default/pods/x/exec", 405),
        ("HEAD", "/healthz", 200),
    ],
)
async def test_built_in_resources_are_served_by_the_methods_of_their_routes_alone(
    client: Client, method: str, path: str, code: int
) -> None:
    assert (await client.raw(method, path)).status == code
