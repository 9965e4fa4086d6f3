"""Configuration files of the API server (audit policy, encryption at rest): read, and refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sublet.machinery import codec
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import FieldError

T = TypeVar("T")


def load_file(path: Path, what: str, read: Callable[[Any], T], *, secret: bool = False) -> T:
    """What ``read`` makes of the YAML document in a file. ``what`` is the file in words.

    ``secret``: nothing of its text may be told. Raises :class:`ConfigurationError`, which names the file.
    """
    try:
        document = codec.decode_yaml_file(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{what} {path} is no YAML{'' if secret else f': {error}'}") from None
    try:
        return read(document)
    except ConfigurationError as error:
        raise ConfigurationError(f"{what} {path}: {error}") from None


def check_type(stated: tuple[str, str], expected: tuple[str, str]) -> None:
    """Compares (apiVersion, kind). Raises :class:`ConfigurationError`."""
    if stated != expected:
        version, kind = (text or "(none)" for text in stated)
        raise ConfigurationError(
            f"it must be apiVersion {expected[0]}, kind {expected[1]}, not {version}, {kind}"
        )


def refuse(found: Sequence[FieldError]) -> None:
    """Raises ``ConfigurationError`` with all errors, if there are any."""
    if found:
        raise ConfigurationError(aggregate(list(map(str, found))))


def aggregate(messages: Sequence[str]) -> str:
    """Some errors as one, as upstream writes them."""
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
