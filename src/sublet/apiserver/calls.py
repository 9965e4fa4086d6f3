"""What the handlers of all verbs begin with: the kind meant, how to answer, and how to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver import decoding, negotiation
from sublet.apiserver.aside import aside
from sublet.apiserver.authorization.denial import denial
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.negotiation import Accepted
from sublet.apiserver.options import ListOptions, WriteOptions, read_revision
from sublet.apiserver.reading import fresh_enough
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.selection import Selection
from sublet.apiserver.stored import key
from sublet.apiserver.views import View, columns_of
from sublet.apiserver.writing import Write, Written
from sublet.client.exchange import Request, Response, User
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import (
    BadRequest,
    NotAcceptable,
    NotFound,
    Unauthorized,
    internal_error,
    invalid,
    not_found,
)
from sublet.store.interface import Entry

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_DEPRECATED = {"componentstatuses": (19, ""), "endpoints": (33, "discovery.k8s.io/v1 EndpointSlice")}
"""Kinds of the core group that every request is warned of: since which minor, what to use instead."""
INCLUDES = ("None", "Metadata", "Object")


class Call(Struct, frozen=True):
    """One request on objects of one kind."""

    request: Request
    info: RequestInfo
    api: APIServer
    kind: Kind
    resource: Resource
    view: View

    @classmethod
    def of(cls, request: Request, info: RequestInfo, api: APIServer, *, watch: bool = False) -> Call:
        """Raises ``NotFound`` where nothing is served, ``NotAcceptable`` for an Accept nothing matches."""
        found = api.kinds.find(info.api_group, info.api_version, info.resource)
        if found is None:
            raise NotFound("the server could not find the requested resource")
        kind, resource = found
        if isinstance(kind, CustomKind):
            if text := kind.deprecations.get(resource.version):
                _note_deprecated(request, info, api)
                warnings(request).append(text)
        elif resource.version != kind.resource.version and (old := kind.deprecation_of(resource)):
            _note_deprecated(request, info, api, old[1])
            warnings(request).append(old[0])
        elif info.resource in _DEPRECATED and not info.api_group:
            since, instead = _DEPRECATED[info.resource]
            if _minor(api.settings.minor) >= since:
                _note_deprecated(request, info, api)
                text = f"v1 {resource.kind} is deprecated in v1.{since}+"
                warnings(request).append(text + (f"; use {instead}" if instead else ""))
        return cls(request, info, api, kind, resource, view(request, info, api, kind, resource, watch=watch))

    @property
    def namespace(self) -> str:
        """``""`` for cluster-scoped kinds, whatever the URL."""
        return self.info.namespace if self.kind.resource.namespaced else ""

    @property
    def user(self) -> User:
        if self.request.user is None:
            raise Unauthorized()
        return self.request.user

    async def get(self) -> Response:
        """The object that the URL names, as fresh as ``resourceVersion`` asks."""
        revision = read_revision(self.info.param("resourceVersion")) if self.info.params else None
        cache = await fresh_enough(self.api.registry, self.kind, revision)
        entry = cache.get(key(self.kind.resource, self.namespace, self.info.name))
        if entry is None:
            raise self.not_found()
        if self.view.converts:
            await self.view.prepare([entry])
        return Response(200, [("Content-Type", self.view.accepted.content_type)], self.view.one(entry))

    def selection(self) -> Selection:
        """What a list or watch wants, by the fields of the version asked for."""
        by_version = columns_of(self.kind, self.resource)
        found = Selection.of(self.kind, self.info, by_version.selectable_in(self.resource))
        if self.view.converts and found.by_content:
            found.look_at(self.view.look, self.resource.api_version)
        return found

    async def selected(self, options: ListOptions) -> Selection:
        """As :meth:`selection`, with everything converted that its fields need."""
        found = self.selection()
        if self.view.converts and found.by_content:
            cache = await fresh_enough(self.api.registry, self.kind, options.revision)
            await self.view.prepare(cache.entries(found.prefix))
        return found

    async def decode(self, options: WriteOptions) -> Object:
        """The object in the body, in the version of the URL."""
        return await aside(
            len(self.request.body),
            decoding.decode,
            self.request,
            self.resource,
            self.api.registry.schema(self.kind, self.resource),
            options.validation,
            warnings(self.request),
            custom=isinstance(self.kind, CustomKind),
        )

    def write(self, options: WriteOptions) -> Write:
        return Write(
            self.user, self.resource, options, self.info.subresource, warnings=warnings(self.request),
            annotations=self.request.context.setdefault("audit_annotations", {}), size=len(self.request.body),
        )  # fmt: skip

    async def may_create(self) -> None:
        """Raises ``Forbidden`` unless the user may create what a PUT or an apply is about to create."""
        asked = self.info.as_create()
        decision = await self.api.authorizer.decide(self.user, asked)
        if decision.error and not decision.allowed:
            raise internal_error(decision.error)
        if not decision.allowed:
            raise denial(self.user, asked, decision.reason)

    def respond(self, written: Written, status: int = 200) -> Response:
        """The response with an object as a write left it."""
        return Response(status, [("Content-Type", self.view.accepted.content_type)], self.body(written))

    def body(self, written: Written) -> bytes:
        if written.shown is not None:
            return self.view.encoded(written.shown)
        if written.revision:
            return self.view.one(Entry("", written.value, written.revision, 0))
        from sublet.apiserver import conversion

        shown = conversion.from_stored(self.kind, self.resource, written.object)
        # What nobody stored has its type where the client put it; stored objects begin with it.
        return self.view.encoded({"kind": shown["kind"], "apiVersion": shown["apiVersion"], **shown})

    def not_found(self) -> NotFound:
        return not_found(self.kind.resource.group, self.kind.resource.plural, self.info.name)


def view(
    request: Request,
    info: RequestInfo,
    api: APIServer,
    kind: Kind,
    resource: Resource,
    *,
    watch: bool = False,
) -> View:
    """How the client wants to see objects of a kind."""
    custom = isinstance(kind, CustomKind)
    own = custom and info.subresource != "scale"  # a Scale is a built-in object, whatever it scales
    formats = negotiation.TEXT_FORMATS if own else negotiation.ALL_FORMATS
    accepted = negotiation.accept(request, info, formats=formats, views=True, watch=watch)
    if not watch and accepted.view.startswith("Partial"):
        _check_partial(accepted.view, info, kind)
    if accepted.view == "PartialObjectMetadataList":
        accepted = replace(accepted, view="PartialObjectMetadata")
    include = info.param("includeObject") or "Metadata"
    if include not in INCLUDES and accepted.view == "Table":
        error = invalid("includeObject", include, "must be 'Metadata', 'Object', 'None', or empty")
        raise BadRequest(f"Unable to convert to Table as requested: {error}")
    return View(api.registry, kind, resource, accepted, include)


def _note_deprecated(request: Request, info: RequestInfo, api: APIServer, removed: str = "") -> None:
    """Metrics and the audit log know; ``removed``: the minor without it, where that is known."""
    labels = (
        f'group="{info.api_group}",removed_release="{removed}",resource="{info.resource}",subresource="{info.subresource}",'
        f'version="{info.api_version}"'
    )
    api.metrics.deprecated.values[labels] = 1
    notes = request.context.setdefault("audit_annotations", {})
    notes["k8s.io/deprecated"] = "true"
    if removed:
        notes["k8s.io/removed-release"] = removed


def _minor(text: str) -> int:
    return int(text.partition(".")[2] or 0)


def _check_partial(view: str, info: RequestInfo, kind: Kind) -> None:
    """Metadata of one object is asked for as such, that of several as a List."""
    several = info.verb in ("list", "deletecollection")
    if several == view.endswith("List"):
        return
    group = kind.resource.group.partition(".")[0] or "core"
    go_type = "unstructured.Unstructured" if isinstance(kind, CustomKind) else f"{group}.{kind.resource.kind}"
    if several:
        what = f"you requested PartialObjectMetadata, but the requested object is a list (*{go_type}List)"
    else:
        what = f"you requested PartialObjectMetadataList, but the requested object is not a list (*{go_type})"
    raise NotAcceptable(what)


def warnings(request: Request) -> list[str]:
    """The texts that go out as Warning headers."""
    found: list[str] = request.context.setdefault("warnings", [])
    return found


def status_view(accepted: Accepted) -> Accepted:
    """Status objects have no other views."""
    return replace(accepted, view="", version="") if accepted.view else accepted
