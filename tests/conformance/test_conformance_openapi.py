"""What custom resource definitions publish as OpenAPI, and what kubectl makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from conformance_client import API, JSON_PATCH, Object
from conformance_customkinds import crds, definition, established, removed
from conformance_names import conformance
from conformance_steps import wait_for

Kubectl = Callable[..., str]
PUBLISHES = "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
TEXT: Object = {"type": "string"}
ADDED = {"apiVersion", "kind", "metadata"}
FOO: Object = {
    "description": "Foo CRD for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "description": "List of Bars and their specs.",
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"description": "Name of Bar.", **TEXT},
                            "age": {"description": "Age of Bar.", **TEXT},
                            "feeling": {
                                "description": "Whether Bar is feeling great.", **TEXT, "enum": ["Great", "Down"],
                            },
                            "bazs": {"description": "List of Bazs.", "type": "array", "items": TEXT},
                        },
                    },
                }
            },
        },
        "status": {
            "description": "Status of Foo",
            "type": "object",
            "properties": {
                "bars": {
                    "description": "List of Bars and their statuses.",
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"description": "Name of Bar.", **TEXT},
                            "available": {"description": "Whether the Bar is installed.", "type": "boolean"},
                            "quxType": {
                                "description": "Indicates to external qux type.", "pattern": "in-tree|out-of-tree",
                                **TEXT,
                            },
                        },
                    },
                }
            },
        },
    },
}  # fmt: skip
WALDO: Object = {
    "description": "preserve-unknown-properties in nested field for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Waldo",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"dummy": {"description": "Dummy property.", "type": "object"}},
        },
        "status": {
            "description": "Status of Waldo",
            "type": "object",
            "properties": {
                "bars": {
                    "description": "List of Bars and their statuses.",
                    "type": "array",
                    "items": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {"name": {"description": "Name of Bar.", **TEXT}},
                    },
                }
            },
        },
    },
}


def definition_name(crd: Object, version: str) -> str:
    group = ".".join(reversed(crd["spec"]["group"].split(".")))
    return f"{group}.{version}.{crd['spec']['names']['kind']}"


class OpenAPI:
    """``/openapi/v2``, fetched again only when its ETag has changed."""

    def __init__(self, api: API) -> None:
        self._api = api
        self._etag = ""
        self._definitions: dict[str, Any] = {}

    def definitions(self) -> dict[str, Any]:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        answer = self._api.raw("GET", "/openapi/v2", headers=headers)
        assert answer.code in (200, 304), answer.code
        if answer.code == 200:
            self._etag = answer.headers["etag"]
            self._definitions = answer.object["definitions"]
        return self._definitions

    def published(self, crd: Object, version: str, schema: Object | None) -> None:
        """Waits until the kind is defined, with a schema given as exactly that beside what every kind has."""
        name = definition_name(crd, version)
        found = wait_for(lambda: self.definitions().get(name), f"{name} is published")
        kind = {"group": crd["spec"]["group"], "version": version, "kind": crd["spec"]["names"]["kind"]}
        assert found["x-kubernetes-group-version-kind"] == [kind]
        if schema is not None:
            assert bare(found) == schema
            assert set(found["properties"]) >= ADDED

    def withdrawn(self, crd: Object, version: str) -> None:
        name = definition_name(crd, version)
        wait_for(lambda: name not in self.definitions(), f"{name} is withdrawn")


def bare(shown: Object) -> Object:
    """The definition without what the server adds to every kind."""
    properties = {k: v for k, v in shown.get("properties", {}).items() if k not in ADDED}
    return {
        **{k: v for k, v in shown.items() if k not in ("properties", "x-kubernetes-group-version-kind")},
        **({"properties": properties} if properties else {}),
    }


class Client:
    """kubectl on one kind in one namespace."""

    def __init__(self, kubectl: Kubectl, namespace: str, crd: Object) -> None:
        self.crd = crd
        spec = crd["spec"]
        self._kubectl = kubectl
        self._namespace = namespace
        self.plural: str = spec["names"]["plural"]
        self._api_version = f"{spec['group']}/{spec['versions'][-1]['name']}"

    def manifest(self, **rest: Any) -> str:
        return json.dumps(
            {
                "kind": self.crd["spec"]["names"]["kind"],
                "apiVersion": self._api_version,
                "metadata": {"name": "test-cr"},
                **rest,
            }
        )

    def accepts(self, **rest: Any) -> None:
        """Creates, deletes, applies and deletes."""
        for verb in ("create", "apply"):
            self._kubectl("-n", self._namespace, verb, "-f", "-", stdin=self.manifest(**rest))
            self._kubectl("-n", self._namespace, "delete", self.plural, "test-cr")

    def rejects(self, text: str, **rest: Any) -> None:
        for verb in ("create", "apply"):
            with pytest.raises(Exception, match="exit code") as caught:
                self._kubectl("-n", self._namespace, verb, "-f", "-", stdin=self.manifest(**rest))
            assert re.search(text, str(caught.value), re.DOTALL), caught.value

    def explains(self, path: str, text: str, *options: str) -> None:
        last: list[str] = [""]

        def ask() -> bool:
            last[0] = self._kubectl("explain", self.plural + path, *options)
            return re.search(text, last[0], re.DOTALL) is not None

        try:
            wait_for(ask, "explain", limit=6, ignore=Exception)
        except AssertionError as error:
            raise AssertionError(f"{text!r} is not in\n{last[0]}\n{error}") from None


@conformance(f"{PUBLISHES}works for CRD with validation schema [Conformance]")
def test_a_schema_is_published_and_enforced(api: API, kubectl: Kubectl, namespace: str) -> None:
    crd = definition("crd-publish-openapi-test-foo", schema=FOO)
    established(api, crd)
    try:
        OpenAPI(api).published(crd, "v1", FOO)
        client = Client(kubectl, namespace, crd)
        client.accepts(spec={"bars": [{"name": "test-bar", "age": "10"}]})
        client.rejects("unknown field|unsupported field", spec={"foo": True})
        client.rejects(
            'spec.bars.0..feeling: Unsupported value: "NonExistentValue"|not one of the allowed values',
            spec={"bars": [{"name": "test-bar", "feeling": "NonExistentValue"}]},
        )
        client.rejects("missing required field|Required value", spec={"bars": [{"age": "10"}]})
        client.explains(
            "",
            "DESCRIPTION:.*Foo CRD for Testing.*FIELDS:.*apiVersion.*<string>.*APIVersion defines.*"
            "spec.*<Object>.*Specification of Foo",
        )
        client.explains(
            ".metadata",
            "DESCRIPTION:.*Standard object's metadata.*FIELDS:.*creationTimestamp.*<string>.*"
            "CreationTimestamp is a timestamp",
        )
        client.explains(
            ".spec",
            r"DESCRIPTION:.*Specification of Foo.*FIELDS:.*bars.*<\[\]Object>.*List of Bars and their specs",
        )
        client.explains(
            ".spec.bars",
            r"<\[\]Object>.*DESCRIPTION:.*List of Bars and their specs.*FIELDS:.*bazs.*<\[\]string>.*List of Bazs"
            ".*name.*<string>.*Name of Bar",
        )
        client.explains(
            ".spec",
            r"bars.*<\[\]Object>.*age.*<string>.*bazs.*<\[\]string>.*name.*<string>",
            "--recursive",
        )
        with pytest.raises(Exception, match='field "bars2" does not exist'):
            kubectl("explain", f"{client.plural}.spec.bars2")
    finally:
        removed(api, crd)


@conformance(f"{PUBLISHES}works for CRD without validation schema [Conformance]")
def test_no_schema_is_published_as_anything(api: API, kubectl: Kubectl, namespace: str) -> None:
    crd = definition("crd-publish-openapi-test-empty")
    established(api, crd)
    try:
        OpenAPI(api).published(crd, "v1", None)
        client = Client(kubectl, namespace, crd)
        client.accepts(a={"b": [{"c": "d"}]})
        client.explains("", "DESCRIPTION:.*<empty>")
    finally:
        removed(api, crd)


@conformance(f"{PUBLISHES}works for CRD preserving unknown fields at the schema root [Conformance]")
def test_unknown_fields_are_kept_at_the_root(api: API, kubectl: Kubectl, namespace: str) -> None:
    description = "preserve-unknown-properties at root for Testing"
    crd = definition(
        "crd-publish-openapi-test-unknown-at-root",
        schema={**FOO, "description": description, "x-kubernetes-preserve-unknown-fields": True},
    )
    established(api, crd)
    try:
        OpenAPI(api).published(crd, "v1", None)
        client = Client(kubectl, namespace, crd)
        client.accepts(a={"b": [{"c": "d"}]})
        client.explains("", f"DESCRIPTION:.*{description}")
    finally:
        removed(api, crd)


@conformance(f"{PUBLISHES}works for CRD preserving unknown fields in an embedded object [Conformance]")
def test_unknown_fields_are_kept_in_an_embedded_object(api: API, kubectl: Kubectl, namespace: str) -> None:
    crd = definition("crd-publish-openapi-test-unknown-in-nested", schema=WALDO)
    established(api, crd)
    try:
        OpenAPI(api).published(crd, "v1", None)
        client = Client(kubectl, namespace, crd)
        client.accepts(spec={"a": None, "b": [{"c": "d"}]})
        client.explains("", "DESCRIPTION:.*preserve-unknown-properties in nested field for Testing")
    finally:
        removed(api, crd)


def both_published(api: API, *pairs: tuple[Object, str]) -> None:
    """Creates the definitions, and waits for each (definition, version) in one document."""
    made = list({crd["metadata"]["name"]: crd for crd, _ in pairs}.values())
    for crd in made:
        established(api, crd)
    try:
        openapi = OpenAPI(api)
        for crd, version in pairs:
            openapi.published(crd, version, FOO)
        for crd, version in pairs:
            assert definition_name(crd, version) in openapi.definitions()
    finally:
        for crd in made:
            removed(api, crd)


@conformance(f"{PUBLISHES}works for multiple CRDs of different groups [Conformance]")
def test_two_groups_are_published(api: API) -> None:
    foo = definition("crd-publish-openapi-test-foo", schema=FOO)
    waldo = definition("crd-publish-openapi-test-waldo", schema=FOO)
    both_published(api, (foo, "v1"), (waldo, "v1"))


@conformance(f"{PUBLISHES}works for multiple CRDs of same group but different versions [Conformance]")
def test_versions_of_one_group_are_published(api: API) -> None:
    several = definition("crd-publish-openapi-test-multi-ver", versions=("v2", "v3"), schema=FOO)
    both_published(api, (several, "v2"), (several, "v3"))
    group = "crd-publish-openapi-test-multi-to-single-ver.example.com"
    v4 = definition("four", versions=("v4",), schema=FOO, group=group)
    v5 = definition("five", versions=("v5",), schema=FOO, group=group)
    both_published(api, (v4, "v4"), (v5, "v5"))


@conformance(
    f"{PUBLISHES}works for multiple CRDs of same group and version but different kinds [Conformance]"
)
def test_kinds_of_one_group_version_are_published(api: API) -> None:
    group = "crd-publish-openapi-test-common-group.example.com"
    foo = definition("foo", versions=("v6",), schema=FOO, group=group)
    waldo = definition("waldo", versions=("v6",), schema=FOO, group=group)
    both_published(api, (foo, "v6"), (waldo, "v6"))


@conformance(f"{PUBLISHES}updates the published spec when one version gets renamed [Conformance]")
def test_a_renamed_version_is_published_anew(api: API) -> None:
    crd = definition("crd-publish-openapi-test-multi-ver", versions=("v3", "v2"), schema=FOO)
    established(api, crd)
    try:
        openapi = OpenAPI(api)
        openapi.published(crd, "v2", FOO)
        openapi.published(crd, "v3", FOO)
        crds(api).patch(
            crd["metadata"]["name"],
            [
                {"op": "test", "path": "/spec/versions/0/name", "value": "v3"},
                {"op": "replace", "path": "/spec/versions/0/name", "value": "v4"},
            ],
            JSON_PATCH,
        )
        openapi.published(crd, "v4", FOO)
        openapi.withdrawn(crd, "v3")
        openapi.published(crd, "v2", FOO)
    finally:
        removed(api, crd)


@conformance(
    f"{PUBLISHES}removes definition from spec when one version gets changed to not be served [Conformance]"
)
def test_an_unserved_version_is_withdrawn(api: API) -> None:
    crd = definition("crd-publish-openapi-test-multi-to-single-ver", versions=("v6alpha1", "v5"), schema=FOO)
    established(api, crd)
    try:
        openapi = OpenAPI(api)
        openapi.published(crd, "v5", FOO)
        openapi.published(crd, "v6alpha1", FOO)
        crds(api).patch(
            crd["metadata"]["name"],
            [{"op": "replace", "path": "/spec/versions/0/served", "value": False}],
            JSON_PATCH,
        )
        openapi.withdrawn(crd, "v6alpha1")
        openapi.published(crd, "v5", FOO)
    finally:
        removed(api, crd)
