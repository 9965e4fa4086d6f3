"""OpenAPI documents: version 2 for all together, version 3 per group and version and per path beside those (B.3).

Documents are made off the event loop when first asked for, and only their compressed bytes are kept, until the set
of kinds changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import time
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Raw, Struct

from sublet.apiserver import openapi_general
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.kindset import Entry, KindSet
from sublet.apiserver.openapi_custom import CustomDefinitions
from sublet.apiserver.openapi_merge import merge, references
from sublet.apiserver.openapi_paths import Document, Format, Paths
from sublet.apiserver.openapi_pieces import Pieces
from sublet.apiserver.release import git_version
from sublet.kinds import schemas
from sublet.machinery import codec
from sublet.machinery.kind import Resource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_ALTERNATIVES = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ("string", "number"),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ("integer", "string"),
}
"""What version 3 can say and version 2, which calls them strings, cannot."""
_DELETE_OPTIONS = f"{_META}.DeleteOptions"
_UNSAFE = "ignoreStoreReadErrorWithClusterBreakingPotential"
_LEVEL = 5


class Published(Struct, frozen=True):
    """One document: gzip of its bytes, and the ETag (upper-hex SHA-512 without quotes)."""

    packed: bytes
    hash: str

    def bytes(self) -> bytes:
        return zlib.decompress(self.packed, 31)


_Digests = dict[tuple[str, str], tuple[CustomKind, bytes]]
"""(plural.group, version) of a custom kind -> the kind it was made of, a digest of what documents say of it."""


class OpenAPI:
    """The documents of one API server."""

    def __init__(self, kinds: KindSet, minor: str, version: str) -> None:
        self._kinds = kinds
        self._minor = minor
        self._version = version
        self._generation = 0
        self._foreign_generation = 0
        self._made: dict[str, Published] = {}
        self._pieces = {False: Pieces(), True: Pieces()}
        """Of the version 2 document: as JSON, and in protobuf."""
        self._digests: _Digests = {}
        self._hashes: dict[str, str] = {}
        self._foreign2: tuple[bytes, ...] = ()
        self.foreign3: Mapping[str, str] = {}
        """``apis/GROUP/VERSION`` and ``apis/GROUP`` that other API servers serve -> the address of the document."""
        self._lock = asyncio.Lock()

    def set_foreign(self, documents2: Mapping[Any, bytes], addresses3: Mapping[str, str]) -> None:
        """What other API servers publish: cuts of version 2 documents (zlib), addresses of version 3 ones."""
        self._foreign2 = tuple(documents2.values())
        self.foreign3 = dict(addresses3)
        self._foreign_generation += 1
        for key in ("v2", "v2 protobuf"):
            self._made.pop(key, None)

    def hashes(self) -> Mapping[str, str]:
        """``apis/apps/v1`` -> a hash of what its version 3 document is made from, in the order of the names.

        There are documents of ``api``, ``version`` and the like too, and of each group of built-in kinds.
        """
        self._refresh()
        if not self._hashes:
            before, self._digests = self._digests, {}
            found: dict[tuple[str, str], list[Entry]] = {}
            for entry in self._kinds.entries():
                for resource in entry.served:
                    found.setdefault((resource.group, resource.version), []).append(entry)
            own = [place for place, entries in found.items() if not all(entry.custom for entry in entries)]
            hashes = {
                root: self._hash(root, "", (), before)
                for root in (path.strip("/") for path in openapi_general.paths(3, own))
            }
            for (group, version), entries in found.items():
                root = f"apis/{group}/{version}" if group else f"api/{version}"
                hashes[root] = self._hash(root, version, entries, before)
            self._hashes = dict(sorted(hashes.items()))
        return self._hashes

    async def version3(self, root: str) -> Published | None:
        """The document of ``apis/GROUP/VERSION`` or another key of :meth:`hashes`; None where there is none."""
        identity = self.hashes().get(root)
        if identity is None:
            return None
        return await self._once(root, lambda maker: _document3(maker, root), identity)

    async def version3_protobuf(self, root: str) -> Published | None:
        """:meth:`version3` in gnostic's protobuf form."""
        from sublet.machinery import openapiproto3

        identity = self.hashes().get(root)
        if identity is None:
            return None
        return await self._once(
            f"{root} protobuf", lambda maker: openapiproto3.encode(_document3(maker, root)), identity
        )

    async def version2(self) -> Published:
        """The document of everything, as JSON."""
        return await self._once("v2", lambda maker: _document2(maker, self._pieces[False]))

    async def version2_protobuf(self) -> Published:
        """The document of everything in gnostic's protobuf form, which older clients insist on."""
        from sublet.machinery import openapiproto
        from sublet.machinery.openapiwriter import Encoded

        def make(maker: _Maker) -> bytes:
            return openapiproto.encode(
                _document2(maker, self._pieces[True], openapiproto.encode_definition, Encoded)
            )

        return await self._once("v2 protobuf", make)

    def _refresh(self) -> None:
        if self._generation != self._kinds.generation:
            self._generation = self._kinds.generation
            self._hashes = {}
            # Those of version 3 are told by what they are made from: most are still right.
            current = set(self.hashes().values())
            self._made = {key: made for key, made in self._made.items() if made.hash in current}

    def _hash(self, root: str, version: str, entries: Iterable[Entry], before: _Digests) -> str:
        """``before``: digests of custom kinds as they were; those that have not changed need none anew."""
        digest = hashlib.sha512(f"{self._version} {self._minor} {root}".encode())
        for entry in entries:
            digest.update(entry.kind.resource.plural.encode())
            if isinstance(entry.kind, CustomKind):
                key = (entry.kind.resource.qualified, version)
                known = before.get(key)
                if known is None or known[0] is not entry.kind:
                    known = (entry.kind, _facts_digest(entry.kind, version))
                self._digests[key] = known
                digest.update(known[1])
        return digest.hexdigest().upper()

    async def _once(
        self, key: str, make: Callable[[_Maker], Document | bytes], identity: str = ""
    ) -> Published:
        self._refresh()
        found = self._made.get(key)
        if found is not None and identity in ("", found.hash):
            return found
        async with self._lock:
            found = self._made.get(key)
            if found is None or identity not in ("", found.hash):
                generation = (self._generation, self._foreign_generation)
                maker = _Maker(tuple(self._kinds.entries()), self._minor, self._version, self._foreign2)
                found = await asyncio.to_thread(_publish, make, maker, identity)
                if generation == (self._kinds.generation, self._foreign_generation):
                    self._made[key] = found
        return found


def _place(root: str) -> tuple[str, str] | None:
    """(group, version) of ``api/v1`` and ``apis/GROUP/VERSION``; None of what is not about one."""
    match root.split("/"):
        case ["api", version]:
            return "", version
        case ["apis", group, version]:
            return group, version
    return None


def _publish(make: Callable[[_Maker], Document | bytes], maker: _Maker, identity: str) -> Published:
    """Runs beside the loop: makes a document, packs it, and gives the memory it took back."""
    made = make(maker)
    data = made if isinstance(made, bytes) else codec.encode_json(made)
    del made
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    packed = compressor.compress(data) + compressor.flush()
    identity = identity or hashlib.sha512(data).hexdigest().upper()
    del data
    # Without glibc the allocator keeps what it keeps.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return Published(packed, identity)


def _facts_digest(kind: CustomKind, version: str) -> bytes:
    """Of everything that a document says of a custom kind."""
    facts = [
        sorted(kind.below(version)), kind.verbs, kind.digests.get(version), kind.resource.kind, kind.list_kind,
        kind.selectable_paths.get(version) or (),
    ]  # fmt: skip
    return hashlib.sha512(codec.encode_json(facts)).digest()


class _Maker:
    """What documents are made from: a snapshot of the kinds."""

    def __init__(
        self, entries: tuple[Entry, ...], minor: str, version: str, foreign2: tuple[bytes, ...] = ()
    ) -> None:
        self.entries = entries
        self.foreign2 = foreign2
        self.minor = minor
        self.version = version
        self._names = schemas.names(minor)
        self._custom = {
            (resource.api_version, kind): definition_name(resource, kind)
            for entry in entries
            if entry.custom
            for resource in entry.served
            for kind in (resource.kind, entry.kind.list_kind)
        }

    def name_of(self, api_version: str, kind: str) -> str:
        return self._custom.get((api_version, kind)) or self._names.get(api_version, {}).get(kind, "")

    def own_places(self) -> list[tuple[str, str]]:
        """(group, version) of each built-in kind."""
        return [(r.group, r.version) for entry, r in self.served() if not entry.custom]

    def info(self) -> Document:
        return {"title": "Kubernetes", "version": git_version(self.minor, self.version)}

    def served(self, group: str | None = None, version: str = "") -> list[tuple[Entry, Resource]]:
        return [
            (entry, resource)
            for entry in self.entries
            for resource in entry.served
            if group is None or (resource.group, resource.version) == (group, version)
        ]

    def paths(self, form: Format, pairs: Iterable[tuple[Entry, Resource]]) -> Document:
        options = schemas.openapi_closure(self.minor, [_DELETE_OPTIONS])[_DELETE_OPTIONS]["properties"]
        texts = {name: each["description"] for name, each in options.items()}
        maker = Paths(form, self.name_of, texts, _lacking(self.minor, texts))
        found: Document = {}
        for entry, resource in pairs:
            found.update(maker.of(entry.kind, resource, custom=entry.custom))
            _let_the_loop_run()
        return dict(sorted(found.items()))

    def custom(self, pairs: Iterable[tuple[Entry, Resource]]) -> Iterator[tuple[CustomKind, Resource]]:
        for entry, resource in pairs:
            if isinstance(entry.kind, CustomKind):
                yield entry.kind, resource
                _let_the_loop_run()


def _lacking(minor: str, delete_options: Container[str]) -> frozenset[str]:
    """The queries that came after a minor, told by the types that came with them."""
    found = set() if f"{_META}.ShardInfo" in schemas.definitions(minor) else {"shardSelector"}
    if _UNSAFE not in delete_options:
        found.add(_UNSAFE)
    return frozenset(found)


def _custom_definitions(form: Format, core: Document) -> Callable[[CustomKind, Resource], Document]:
    """(kind, one version of it) -> its definitions. ``core``: those of core/v1, for the texts of what all kinds have."""
    one = core["io.k8s.api.core.v1.ConfigMap"]["properties"]
    many = core["io.k8s.api.core.v1.PodList"]["properties"]
    typed = {name: one[name] for name in ("apiVersion", "kind")}
    maker = CustomDefinitions(form, typed, one["metadata"]["description"], many["metadata"]["description"])

    def of(kind: CustomKind, resource: Resource) -> Document:
        names = (definition_name(resource, name) for name in (resource.kind, kind.list_kind))
        return maker.of(kind, resource, *names)

    return of


def definition_name(resource: Resource, kind: str) -> str:
    """``com.example.stable.v1.Foo``: the group's labels reversed, version, Kind."""
    return ".".join((*reversed(resource.group.split(".")), resource.version, kind))


def _document2(
    maker: _Maker,
    pieces: Pieces,
    write: Callable[[Document], bytes] = codec.encode_json,
    written: Callable[[bytes], Any] = Raw,
) -> Document:
    """``write``, ``written``: how definitions of custom resources stand in it, and as what."""
    pairs = maker.served()
    definitions: Document = {}
    for api_version in dict.fromkeys(resource.api_version for _, resource in pairs):
        definitions.update(schemas.openapi_definitions(maker.minor, api_version))
        _let_the_loop_run()
    if not definitions:
        definitions.update(schemas.openapi_definitions(maker.minor, "v1"))
    make = _custom_definitions(2, definitions)
    keys = set()
    for kind, resource in maker.custom(pairs):
        keys.add(key := (resource.qualified, resource.version))
        piece = pieces.once(
            key,
            _facts_digest(kind, resource.version),
            lambda kind=kind, at=resource: {name: write(each) for name, each in make(kind, at).items()},  # type: ignore[misc]
        )
        definitions.update((name, written(each)) for name, each in piece.items())
    pieces.keep(keys)
    definitions |= schemas.openapi_closure(maker.minor, openapi_general.DEFINITIONS)
    general = openapi_general.paths(2, maker.own_places())
    document: Document = {
        "swagger": "2.0",
        "info": maker.info(),
        "paths": dict(sorted({**maker.paths(2, pairs), **general}.items())),
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": _SECURITY},
        "security": [{"BearerToken": []}],
    }
    for packed in maker.foreign2:
        merge(document, codec.decode_json(zlib.decompress(packed)))
    return document


_SECURITY = {
    "description": "Bearer Token authentication",
    "type": "apiKey",
    "name": "authorization",
    "in": "header",
}


def _document3(maker: _Maker, root: str) -> Document:
    """``root``: a key of :meth:`OpenAPI.hashes`."""
    path = f"/{root}/"
    general = openapi_general.paths(3, maker.own_places())
    item = {path: general[path]} if path in general else {}
    place = _place(root)
    if place is None:
        wanted = [name for name in references(item) if name in openapi_general.DEFINITIONS]
        components = {"schemas": dict(_all_as_version3(schemas.openapi_closure(maker.minor, wanted)))}
        return _version3(maker.info(), item, components if wanted else {})
    pairs = maker.served(*place)
    paths = dict(sorted({**item, **maker.paths(3, pairs)}.items()))
    shapes = _schemas3(maker, place, pairs, paths)
    if all(entry.custom for entry, _ in pairs):
        return {"openapi": "3.0.0", "info": _CUSTOM, "paths": paths, "components": {"schemas": shapes}}
    return _version3(maker.info(), paths, {"schemas": shapes})


_CUSTOM = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
"""What upstream calls documents that are all of custom resources, which name no way to authenticate either."""


def _version3(info: Document, paths: Document, components: Document) -> Document:
    components = {**components, "securitySchemes": {"BearerToken": _SECURITY}}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": components}


def _schemas3(
    maker: _Maker, place: tuple[str, str], pairs: Iterable[tuple[Entry, Resource]], paths: Document
) -> Document:
    """The definitions that the paths of a group and version need."""
    group, version = place
    definitions = schemas.openapi_definitions(maker.minor, f"{group}/{version}" if group else version)
    definitions = _closure(definitions, references(paths))
    custom: Document = {}
    if any(entry.custom for entry, _ in pairs):
        meta = schemas.openapi_definitions(maker.minor, "v1")
        wanted = [
            f"{_META}.{name}" for name in ("ObjectMeta", "ListMeta", "DeleteOptions", "Status", "Patch")
        ]
        definitions |= _closure(meta, wanted)
        make = _custom_definitions(3, meta)
        for kind, resource in maker.custom(pairs):
            # As text: the definitions of a large group decoded together take hundreds of megabytes.
            custom.update((name, Raw(codec.encode_json(each))) for name, each in make(kind, resource).items())
        if any("scale" in entry.kind.subresources for entry, _ in pairs):
            scale = schemas.openapi_definitions(maker.minor, "autoscaling/v1")
            definitions |= _closure(scale, ["io.k8s.api.autoscaling.v1.Scale"])
    return dict(sorted({**dict(_all_as_version3(definitions)), **custom}.items()))


def _closure(definitions: Document, wanted: Iterable[str]) -> Document:
    """The definitions named and all they refer to."""
    found: Document = {}
    left = list(wanted)
    while left:
        name = left.pop()
        if name not in found and name in definitions:
            found[name] = definitions[name]
            left.extend(references(definitions[name]))
    return found


def _let_the_loop_run() -> None:
    """Gives the interpreter to the event loop's thread, which else waits out the switch interval."""
    time.sleep(0)


def _all_as_version3(definitions: Document) -> Iterator[tuple[str, Any]]:
    for name in sorted(definitions):
        made = _as_version3(definitions[name])
        if name in _ALTERNATIVES:
            del made["type"]
            made["oneOf"] = [{"type": kind} for kind in _ALTERNATIVES[name]]
        yield name, made
        _let_the_loop_run()


def _as_version3(node: Any) -> Any:
    """A version 2 schema in version 3: references below components; beside other keywords they stand in allOf."""
    if isinstance(node, list):
        return [_as_version3(child) for child in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        target = {"$ref": reference.replace("#/definitions/", "#/components/schemas/")}
        beside = {key: _as_version3(child) for key, child in node.items() if key != "$ref"}
        return {"allOf": [target], **beside} if beside else target
    return {key: _as_version3(child) for key, child in node.items()}
