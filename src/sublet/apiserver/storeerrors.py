"""What the data store raises, as clients get to see it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from sublet.machinery.status import (
    Cause,
    Expired,
    ServerTimeout,
    ServiceUnavailable,
    StatusError,
    Timeout,
    internal_error,
)
from sublet.store.interface import (
    Compacted,
    FutureRevision,
    KeyExists,
    OutcomeUnknown,
    RevisionMismatch,
    StoreClosed,
    StoreError,
    StoreFull,
)

T = TypeVar("T")


async def translated(operation: Awaitable[T]) -> T:
    """Awaits a store operation; KeyExists and RevisionMismatch pass, all else becomes a ``StatusError``."""
    try:
        return await operation
    except (KeyExists, RevisionMismatch):
        raise
    except StoreError as error:
        raise status(error) from error


def status(error: StoreError) -> StatusError:
    """The ``StatusError`` of a store error."""
    if isinstance(error, Compacted):
        return Expired("The resourceVersion for the provided list is too old.")
    if isinstance(error, FutureRevision):
        return too_large(error.asked, error.current)
    if isinstance(error, OutcomeUnknown):
        return ServerTimeout(
            "the data store lost the connection while writing: read the object back to see whether it was written",
            retry_after=1,
        )
    if isinstance(error, StoreFull):
        return internal_error("the data store has no space left; nothing was written")
    if isinstance(error, StoreClosed):
        return ServiceUnavailable("the data store is closed", retry_after=1)
    return internal_error(f"{error}")


def too_large(asked: int, current: int) -> Timeout:
    """The answer to a resource version from the future."""
    text = "Too large resource version"
    return Timeout(
        f"Timeout: {text}: {asked}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", text)],
        retry_after=1,
    )
