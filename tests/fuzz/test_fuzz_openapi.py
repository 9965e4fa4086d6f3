"""Whatever a body holds: never an internal error, never a hang, never half a write.

Every resource of the published OpenAPI documents gets bodies that are right or broken in one place, under every verb
and content type. SUBLET_SEED repeats a run; ``make soak`` runs SUBLET_SOAK times as many.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from fuzz_bodies import MEANT, WORDS, WRONG, Bodies

from sublet.apiserver.api import APIServer
from sublet.client.exchange import Request, Response, User
from sublet.machinery import codec

ADMIN = User("admin", ("system:masters", "system:authenticated"))
ROUNDS = max(1, int(os.environ.get("SUBLET_SOAK", "2")) // 2)
SECONDS = 20.0
"""A request that takes longer hangs; the machine may be slow."""
PATCHES = ("application/json-patch+json", "application/merge-patch+json",
           "application/strategic-merge-patch+json", "application/apply-patch+yaml")  # fmt: skip


@dataclass
class Resource:
    path: str
    group_version: str
    kind: str
    schema: dict[str, Any]
    bodies: Bodies
    verbs: frozenset[str]


class Fuzzer:
    """Sends one request after the other and judges the answers."""

    def __init__(self, api: APIServer, rng: random.Random) -> None:
        self.api = api
        self.rng = rng
        self.bad: dict[str, str] = {}
        """What went wrong -> the first request it went wrong with."""
        self.codes: dict[int, int] = {}

    async def send(
        self,
        method: str,
        path: str,
        body: Any = b"",
        content_type: str = "application/json",
        accept: str = "",
    ) -> Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": content_type, **({"accept": accept} if accept else {})}
        where, _, query = path.partition("?")
        request = Request(method, where, query, headers, raw, user=ADMIN, remote="127.0.0.1:1")
        what = f"{method} {path} {content_type} {raw[:3000]!r}"
        try:
            response = await asyncio.wait_for(self.api.handle(request), SECONDS)
        except TimeoutError:
            self.report(f"no answer in {SECONDS:g} s", what)
            return Response(504)
        self.codes[response.status] = self.codes.get(response.status, 0) + 1
        if response.status >= 500 and not _meant(response):
            self.report(f"{response.status} {response.body!r:.600}", what)
        if not isinstance(response.body, bytes):
            chunk = asyncio.ensure_future(anext(response.body, b""))  # type: ignore[arg-type]
            await asyncio.wait({chunk}, timeout=0.01)
            chunk.cancel()
            await asyncio.gather(chunk, return_exceptions=True)
            await response.body.aclose()  # type: ignore[attr-defined]
        return response

    def report(self, problem: str, what: str) -> None:
        self.bad.setdefault(problem, what)

    async def document(self, path: str) -> Any:
        response = await self.send("GET", path)
        assert isinstance(response.body, bytes) and response.status == 200, path
        return codec.decode_json(response.body)

    async def define(self, definition: Any) -> None:
        """A custom resource, once its documents are published."""
        await self.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        group = definition["spec"]["group"]
        for _ in range(200):
            if f"apis/{group}/v1" in (await self.document("/openapi/v3"))["paths"]:
                return
            await asyncio.sleep(0.05)

    async def resources(self) -> list[Resource]:
        found = []
        index = (await self.document("/openapi/v3"))["paths"]
        for key, where in sorted(index.items()):
            if not key.startswith(("api/v1", "apis/")) or key.count("/") < 1:
                continue
            document = await self.document(where["serverRelativeURL"])
            components = (document.get("components") or {}).get("schemas") or {}
            found += list(self._creatable(document, components))
        return found

    def _creatable(self, document: Any, components: Any) -> Iterator[Resource]:
        for path, operations in document["paths"].items():
            post = operations.get("post")
            if not post or "{path}" in path:
                continue
            gvk = post.get("x-kubernetes-group-version-kind")
            content = (post.get("requestBody") or {}).get("content") or {}
            schema = next((each.get("schema") for each in content.values()), None)
            if gvk and schema:
                group_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
                verbs = frozenset(operations) | frozenset(document["paths"].get(path + "/{name}", ()))
                bodies = Bodies(components, self.rng)
                yield Resource(path, group_version, gvk["kind"], schema, bodies, verbs)

    async def stored(self, path: str) -> Any:
        response = await self.send("GET", path)
        assert isinstance(response.body, bytes)
        return codec.decode_json(response.body) if response.status == 200 else None

    async def write(self, method: str, path: str, target: str, body: Any, content_type: str) -> None:
        """A write that is refused leaves the object as it was."""
        before = await self.stored(target)
        response = await self.send(method, path, body, content_type)
        if response.status >= 300 or "dryRun" in path:
            after = await self.stored(target)
            if before != after:
                self.report(
                    f"{method} answered {response.status} and changed the object", f"{path}: {body!r:.2000}"
                )

    async def resource(self, resource: Resource) -> None:
        rng = self.rng
        collection = resource.path.replace("{namespace}", "default")
        if "{name}" in collection:  # a subresource
            await self.send("POST", collection.replace("{name}", "default"), self.broken(resource, "default"))
            return
        name = "fuzz-" + str(rng.randrange(10**6))
        target = f"{collection}/{name}"
        options = rng.choice(
            ("", "?fieldValidation=Strict", "?fieldValidation=Ignore", "?dryRun=All", "?fieldManager=f")
        )
        least = {"apiVersion": resource.group_version, "kind": resource.kind, "metadata": {"name": "least"}}
        await self.write("POST", collection, f"{collection}/least", least, "application/json")
        await self.send("DELETE", f"{collection}/least", rng.choice(DELETES))
        await self.write("POST", collection, target, self.right(resource, name), "application/json")
        await self.write(
            "POST", collection + options, target, self.broken(resource, name), "application/json"
        )
        if rng.random() < 0.3:
            await self.write("POST", collection, target, self.right(resource, name), "application/yaml")
        await self.write("PUT", target + options, target, self.right(resource, name), "application/json")
        await self.write("PUT", target, target, self.broken(resource, name), "application/json")
        for content_type in PATCHES:
            await self.write(
                "PATCH",
                target + self.options(content_type),
                target,
                self.patch(resource, name, content_type),
                content_type,
            )
        for part in ("status", "scale"):
            await self.send("PUT", f"{target}/{part}", self.broken(resource, name))
            await self.send("PATCH", f"{target}/{part}", {part: rng.choice(WRONG)}, PATCHES[1])
        await self.send("GET", target, accept=rng.choice(ACCEPTS))
        await self.send("GET", collection + self.query(), accept=rng.choice(ACCEPTS))
        await self.send("DELETE", target, rng.choice(DELETES))
        if rng.random() < 0.1:
            await self.send("DELETE", collection + self.query(), rng.choice(DELETES))

    def options(self, content_type: str) -> str:
        return "?fieldManager=fuzz&force=true" if "apply" in content_type else ""

    def right(self, resource: Resource, name: str) -> Any:
        body = resource.bodies.like(resource.schema)
        metadata = body.get("metadata") if isinstance(body.get("metadata"), dict) else {}
        keep = {
            k: v for k, v in metadata.items() if k in ("labels", "annotations") and self.rng.random() < 0.3
        }
        return {
            **body,
            "apiVersion": resource.group_version,
            "kind": resource.kind,
            "metadata": {**keep, "name": name},
        }

    def broken(self, resource: Resource, name: str) -> Any:
        body = resource.bodies.like(resource.schema)
        if self.rng.random() < 0.7:
            body = {**body, "apiVersion": resource.group_version, "kind": resource.kind}
        if self.rng.random() < 0.8:
            body["metadata"] = {**(body.get("metadata") or {}), "name": name}
        return resource.bodies.broken(body)

    def patch(self, resource: Resource, name: str, content_type: str) -> Any:
        rng = self.rng
        if "json-patch" in content_type:
            paths = (
                "/spec",
                "/metadata/labels",
                "/metadata/labels/a~1b",
                "/spec/x/0",
                "",
                "/metadata/name",
                "/data/-",
                "a",
                "/~2",
            )
            return [
                {"op": rng.choice(("add", "remove", "replace", "test", "copy", "move", "x")), "path": rng.choice(paths),
                 "from": rng.choice(paths), "value": rng.choice(WRONG)}
                for _ in range(rng.choice((0, 1, 2)))
            ]  # fmt: skip
        return self.right(resource, name) if rng.random() < 0.5 else self.broken(resource, name)

    def query(self) -> str:
        rng = self.rng
        pairs = [
            f"{rng.choice(PARAMETERS)}={quote(rng.choice((*WORDS, '=', 'a=b', 'a in (b', '!a', 'a>1', 'status.phase!=x', 'metadata.name=a')))}"
            for _ in range(rng.choice((0, 1, 2)))
        ]
        return "?" + "&".join(pairs)


CUSTOM = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "subresources": {"status": {}, "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.replicas"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {
                    "type": "object", "required": ["replicas"],
                    "x-kubernetes-validations": [{"rule": "self.replicas <= 5000 && (!has(self.parts) || self.parts.size() < 9)"}],
                    "properties": {
                        "replicas": {"type": "integer", "minimum": 0}, "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                        "at": {"type": "string", "format": "date-time"}, "text": {"type": "string", "pattern": "^(a+)+$", "maxLength": 50},
                        "any": {"x-kubernetes-preserve-unknown-fields": True}, "port": {"x-kubernetes-int-or-string": True},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                            "type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "weight": {"type": "number", "nullable": True}}}},
                        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "template": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
                    },
                },
                "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
            }}},
        }],
    },
}  # fmt: skip
PARAMETERS = (
    "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "watch", "timeout",
    "timeoutSeconds", "allowWatchBookmarks", "sendInitialEvents", "pretty", "includeObject", "dryRun", "x",
)  # fmt: skip
ACCEPTS = (
    "", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "x", ";;;", "*/*;q=0",
)  # fmt: skip
DELETES: tuple[Any, ...] = (
    b"", {}, {"gracePeriodSeconds": 0}, {"gracePeriodSeconds": -1}, {"propagationPolicy": "Foreground"},
    {"propagationPolicy": "x"}, {"preconditions": {"uid": "x"}}, {"preconditions": 1}, [], b"\x00", b"null",
)  # fmt: skip


def _meant(response: Response) -> bool:
    body = response.body if isinstance(response.body, bytes) else b""
    return any(text in body for text in MEANT)


def seeded() -> random.Random:
    return random.Random(int(os.environ.get("SUBLET_SEED", "7")))


@pytest.mark.timeout(7200)
async def test_soak_no_body_of_any_published_resource_makes_an_internal_error_or_half_a_write(
    api: APIServer,
) -> None:
    fuzzer = Fuzzer(api, seeded())
    await fuzzer.send("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await fuzzer.define(CUSTOM)
    resources = await fuzzer.resources()
    assert any(resource.kind == "Widget" for resource in resources)
    assert len(resources) > 60
    for _ in range(ROUNDS):
        for resource in resources:
            await fuzzer.resource(resource)
    assert not fuzzer.bad, "\n".join(f"{problem}\n    {what}" for problem, what in fuzzer.bad.items())
    assert fuzzer.codes[201] > 20 * ROUNDS and fuzzer.codes[422] > 20 * ROUNDS, fuzzer.codes
