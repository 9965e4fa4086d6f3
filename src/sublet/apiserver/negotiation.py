"""Content negotiation: what a client accepts, what it sent, and the bytes of an answer.

Source: reference/kubernetes-api.md B.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import Struct

from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery import codec
from sublet.machinery.status import BadRequest, NotAcceptable, UnsupportedMediaType

Format = Literal["json", "yaml", "protobuf"]

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

_FORMATS: Mapping[str, Format] = {JSON: "json", YAML: "yaml", PROTOBUF: "protobuf"}
_TYPES: Mapping[str, str] = {fmt: media for media, fmt in _FORMATS.items()}
_VIEWS = frozenset(("Table", "PartialObjectMetadata", "PartialObjectMetadataList"))
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
"""What Go reads as a true flag; everything else is a false one here."""
_STREAMED: tuple[Format, ...] = ("json", "protobuf")
_STREAM = ";stream=watch"
ALL_FORMATS: tuple[Format, ...] = ("json", "yaml", "protobuf")
TEXT_FORMATS: tuple[Format, ...] = ("json", "yaml")
"""What custom resources and other objects without protobuf messages are served in."""


class Accepted(Struct, frozen=True):
    """How to answer."""

    format: Format
    view: str = ""
    """``Table``, ``PartialObjectMetadata``, ``PartialObjectMetadataList``, or ``""``: the object itself."""
    version: str = ""
    """Of ``meta.k8s.io`` when there is a view: ``v1`` or ``v1beta1``."""
    pretty: bool = False

    @property
    def plain(self) -> bool:
        """Compact JSON of the object itself: stored bytes may go out."""
        return self.format == "json" and not self.view and not self.pretty

    @property
    def content_type(self) -> str:
        return _TYPES[self.format]

    @property
    def stream_content_type(self) -> str:
        return JSON if self.format == "json" else _TYPES[self.format] + _STREAM


PLAIN = Accepted("json")
PRETTY = Accepted("json", pretty=True)


def accept(
    request: Request,
    info: RequestInfo | None = None,
    *,
    formats: tuple[Format, ...] = ALL_FORMATS,
    views: bool = False,
    watch: bool = False,
) -> Accepted:
    """The best way to answer a request. Raises :class:`NotAcceptable`.

    ``formats``: what the object can be written in (use :data:`TEXT_FORMATS` for custom resources: their metadata
    views are still allowed in protobuf). ``views``: whether Table and PartialObjectMetadata may be asked for.
    ``watch``: what is asked for is a stream, which there is none of in YAML.
    """
    header = request.headers.get("accept", "")
    found = PLAIN if header in ("", "*/*", JSON) else choose(header, formats, views)
    if watch and found.format not in _STREAMED:
        raise _not_acceptable(_TYPES[fmt] + _STREAM for fmt in _STREAMED)
    if found.format == "json" and _wants_pretty(request, info) and not found.pretty:
        return Accepted("json", found.view, found.version, True)
    return found


def _wants_pretty(request: Request, info: RequestInfo | None) -> bool:
    if info is not None and (wanted := info.param("pretty")):
        return wanted in _TRUE
    return request.headers.get("user-agent", "").startswith(_BROWSERS)


@lru_cache(maxsize=256)
def choose(header: str, formats: tuple[Format, ...] = ALL_FORMATS, views: bool = False) -> Accepted:
    """:func:`accept` for an Accept header alone."""
    for media, parameters in parse_accept(header):
        for fmt in _matching(media, formats, views):
            found = _fits(fmt, parameters, formats, views)
            if found is not None:
                return found
    raise _not_acceptable(_FORMATS)


def _not_acceptable(types: Iterable[str]) -> NotAcceptable:
    return NotAcceptable("only the following media types are accepted: " + ", ".join(types))


def _matching(media: str, formats: tuple[Format, ...], views: bool) -> tuple[Format, ...]:
    """The formats that one Accept clause's media type stands for."""
    if media in ("*/*", "application/*"):
        return formats
    fmt = _FORMATS.get(media)
    if fmt is None or not (fmt in formats or (views and fmt == "protobuf")):
        return ()
    return (fmt,)


def _fits(
    fmt: Format, parameters: Mapping[str, str], formats: tuple[Format, ...], views: bool
) -> Accepted | None:
    stream = parameters.get("stream")
    if stream and (stream != "watch" or fmt not in _STREAMED):
        return None
    if parameters.get("sv", "v1") not in ("", "v1"):
        return None
    view = parameters.get("as", "")
    version = parameters.get("v", "")
    pretty = parameters.get("pretty") == "1"
    if not view:
        if "g" in parameters or "v" in parameters or fmt not in formats:
            return None
        return Accepted(fmt, pretty=pretty)
    if not views or view not in _VIEWS or parameters.get("g") != "meta.k8s.io":
        return None
    if version not in ("v1", "v1beta1") or (view == "Table" and fmt == "protobuf"):
        return None
    return Accepted(fmt, view, version, pretty)


class _Clause(Struct, frozen=True):
    """One clause of an Accept header."""

    media: str
    quality: float
    parameters: dict[str, str]

    def precedes(self, other: _Clause) -> bool:
        """The order of the library upstream uses, which is none: a wildcard yields to any type beside it,
        whatever their qualities."""
        if self.quality > other.quality:
            return True
        (kind, _, sub), (other_kind, _, other_sub) = self.media.partition("/"), other.media.partition("/")
        return (kind != "*" and other_kind == "*") or (sub != "*" and other_sub == "*")


@lru_cache(maxsize=256)
def parse_accept(header: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """The clauses of an Accept header, most wanted first: (media type, parameters without q).

    As upstream: a quality of 0 is the least there is, and no refusal; of two wildcards and types the sooner wins.
    """
    clauses: list[_Clause] = []
    for text in header.split(","):
        clause = _clause(text)
        if clause is None:
            continue
        clauses.append(clause)
        at = len(clauses) - 1
        while at and clauses[at].precedes(clauses[at - 1]):
            clauses[at - 1 : at + 1] = clauses[at], clauses[at - 1]
            at -= 1
    return tuple((clause.media, clause.parameters) for clause in clauses)


def _clause(text: str) -> _Clause | None:
    media, *rest = (piece.strip() for piece in text.split(";"))
    if media == "*":
        media = "*/*"
    if media.count("/") != 1:
        return None
    parameters: dict[str, str] = {}
    quality = 1.0
    for piece in rest:
        key, _, value = piece.partition("=")
        if not value or "=" in value:
            continue
        if key.strip() != "q":
            parameters[key.strip()] = value.strip()
            continue
        try:
            quality = float(value)
        except ValueError:
            quality = 0.0
    return _Clause(media, quality, parameters)


def content_format(request: Request, formats: tuple[Format, ...] = ALL_FORMATS) -> Format:
    """What the body is written in; JSON when nothing says. Raises :class:`UnsupportedMediaType`."""
    header = request.headers.get("content-type", "")
    if not header or header == JSON:
        return "json"
    media = header.partition(";")[0].strip().lower()
    fmt = _FORMATS.get(media)
    if fmt is None or fmt not in formats:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(_TYPES[each] for each in formats)
        )
    return fmt


def decode_yaml(body: bytes) -> Any:
    """A YAML document as JSON-shaped values. Raises :class:`BadRequest`."""
    try:
        return codec.decode_yaml(body)
    except codec.DecodeError as error:
        raise BadRequest(str(error)) from None


def encode(obj: Any, accepted: Accepted = PLAIN) -> bytes:
    """A whole object's bytes. Raises :class:`NotAcceptable` where protobuf does not know the kind."""
    if accepted.format == "yaml":
        return codec.encode_yaml(obj)
    if accepted.format == "protobuf":
        return protobuf_object(obj.get("apiVersion", ""), obj.get("kind", ""), protobuf_message(obj))
    data = codec.encode_json(obj)
    return msgspec.json.format(data, indent=2) + b"\n" if accepted.pretty else data + b"\n"


def protobuf_message(obj: Any) -> bytes:
    """An object's protobuf message, without an envelope. Raises :class:`NotAcceptable` for a kind that has none."""
    from sublet.kinds import protobuf
    from sublet.machinery.protobuf import NoProtobufError

    try:
        return protobuf.codec().message(obj)
    except NoProtobufError as error:
        raise NotAcceptable(
            f"only the following media types are accepted: {JSON}, {YAML} ({error})"
        ) from None


def protobuf_object(api_version: str, kind: str, message: bytes) -> bytes:
    """A message in its envelope."""
    from sublet.kinds import protobuf

    return protobuf.codec().envelope(api_version, kind, message)


def protobuf_list(head: Mapping[str, str], metadata: Mapping[str, Any], items: Sequence[bytes]) -> bytes:
    """A List in its envelope, of its items' messages. Raises :class:`NotAcceptable` for a kind that has none."""
    from sublet.kinds import protobuf

    protocol = protobuf.codec()
    parts = [protobuf_message({**head, "metadata": metadata})]
    before = protocol.before_items(head["apiVersion"], head["kind"])
    for item in items:
        parts += (before(item), item)
    return protocol.envelope(head["apiVersion"], head["kind"], *parts)


def respond(
    obj: Any, accepted: Accepted = PLAIN, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """A whole response with an object."""
    return Response(status, [("Content-Type", accepted.content_type), *headers], encode(obj, accepted))
