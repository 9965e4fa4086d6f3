"""Turns every exception into a Status body; nothing leaves the chain as an exception."""

from __future__ import annotations

import logging

from sublet.apiserver import negotiation
from sublet.apiserver.chain import Proceed
from sublet.client.exchange import Request, Response
from sublet.machinery.status import NotAcceptable, ServiceUnavailable, StatusError, internal_error
from sublet.store.interface import OutcomeUnknown, StoreError

_log = logging.getLogger(__name__)


class Errors:
    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        try:
            return await proceed(request)
        except StatusError as error:
            return answer(request, error)
        except StoreError as error:
            _log.warning("%s %s: the data store: %s", request.method, request.path, error)
            return answer(request, understood(error))
        except Exception as error:
            _log.exception("%s %s failed", request.method, request.path)
            return answer(request, understood(error))


def understood(error: Exception) -> StatusError:
    """The error that goes out for anything that was raised."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, OutcomeUnknown):
        return internal_error(f"{error}")
    if isinstance(error, StoreError):
        return ServiceUnavailable(f"the data store is unavailable: {error}", retry_after=1)
    return internal_error(f"{type(error).__name__}: {error}")


def answer(request: Request, error: StatusError) -> Response:
    """The response that an error is: a Status in what the client accepts, JSON where that is nothing we have."""
    headers = error.headers
    if error.retry_after:
        headers = (*headers, ("Retry-After", str(error.retry_after)))
    try:
        accepted = negotiation.accept(request, request.context.get("info"))
    except NotAcceptable:
        # As upstream, which writes this one without its encoders.
        body = negotiation.encode(error.to_object(), negotiation.PRETTY).rstrip()
        return Response(error.code, [("Content-Type", negotiation.JSON), *headers], body)
    return negotiation.respond(error.to_object(), accepted, error.code, headers)
