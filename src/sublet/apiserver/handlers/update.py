"""PUT of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.writing import Change, name_matches
from sublet.client.exchange import Request, Response
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The object as it was stored; 201 where the kind lets a PUT create."""
    call = Call.of(request, info, api)
    options = write_options(request, info, "UpdateOptions")
    change = replacement(call, call.decode(options))
    written = await api.registry.update(
        call.kind, call.namespace, info.name, change, call.write(options), create=call.kind.create_on_update
    )
    return call.respond(written, 201 if written.created else 200)


def replacement(call: Call, obj: Object) -> Change:
    """A change that puts ``obj`` in place of whatever is there."""
    name_matches(obj, call.info.name)
    metadata = obj.setdefault("metadata", {})
    if not metadata.get("name"):
        if not call.info.subresource:
            raise BadRequest("name must be provided")
        metadata["name"] = call.info.name
    stated = objects.namespace(obj)
    if call.kind.resource.namespaced:
        if stated and stated != call.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = call.namespace
    else:
        metadata.pop("namespace", None)
    encoded = codec.encode_json(obj)

    def change(_current: Object | None) -> Object:
        # Each attempt needs a copy: defaulting and admission change it.
        fresh: Object = codec.decode_json(encoded)
        return fresh

    return change
