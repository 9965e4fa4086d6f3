"""The files of a control plane as they lie there: found again at a start without looking into one certificate.

Loading the library that reads certificates takes as long as a tenth of a start. So whoever has checked the files
leaves a note beside them: what they were, for which names, and until when nothing is due. While the note holds,
there is nothing to check.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from sublet.machinery.clock import Clock
from sublet.pki import files

if TYPE_CHECKING:
    from sublet.pki.authority import Authority

NOTE = "checked.json"
AUTHORITIES = ("ca", "front-proxy-ca")
CERTIFIED = ("apiserver", "apiserver-kubelet-client", "front-proxy-client", "admin")
"""Key pairs that the authorities certify."""
_FILES = (*(f"{n}.{s}" for n in (*AUTHORITIES, *CERTIFIED) for s in ("crt", "key")), "sa.key", "sa.pub")


class ControlPlanePKI(Struct, frozen=True, dict=True):
    """Where everything lies, and the authorities to issue more."""

    directory: Path
    clock: Clock
    renewed: tuple[str, ...] = ()
    """Names (without suffix) made or renewed when this was looked at."""

    @cached_property
    def ca(self) -> Authority:
        """Signs servers and clients (``ca.crt``). Raises :class:`~sublet.pki.files.PKIError`."""
        return self._authority("ca")

    @cached_property
    def front_proxy_ca(self) -> Authority:
        """Signs those who may say who asks (``front-proxy-ca.crt``)."""
        return self._authority("front-proxy-ca")

    def _authority(self, name: str) -> Authority:
        from sublet.pki.authority import Authority

        return Authority.load(self.directory, name, self.clock)

    def cert(self, name: str) -> Path:
        """``cert("apiserver")`` is ``…/apiserver.crt``."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """``key("sa")`` is ``…/sa.key``."""
        return self.directory / f"{name}.key"

    def pair(self, name: str) -> tuple[bytes, bytes]:
        """(certificate, key) as PEM."""
        return self.cert(name).read_bytes(), self.key(name).read_bytes()


def open_control_plane(directory: Path, sans: Iterable[str], clock: Clock) -> ControlPlanePKI:
    """As :func:`~sublet.pki.certificates.ensure_control_plane`, which is asked only where something may be due."""
    sans = tuple(sans)
    if _holds(directory, sans, clock.now()):
        return ControlPlanePKI(directory, clock)
    from sublet.pki.certificates import ensure_control_plane

    return ensure_control_plane(directory, sans, clock)


def note(directory: Path, sans: Iterable[str], begins: float, ends: float) -> None:
    """Notes that all files are good for these names from one moment to another (seconds since the epoch).

    Where it cannot be written, there is no note.
    """
    with contextlib.suppress(OSError):
        document = {"digest": _digest(directory, sans), "begins": begins, "ends": ends}
        text = json.dumps(document).encode() + b"\n"
        path = directory / NOTE
        if not path.exists() or path.read_bytes() != text:
            files.write(path, text)


def _holds(directory: Path, sans: Iterable[str], now: float) -> bool:
    try:
        found = json.loads((directory / NOTE).read_bytes())
        return bool(found["begins"] <= now < found["ends"] and found["digest"] == _digest(directory, sans))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digest(directory: Path, sans: Iterable[str]) -> str:
    """Of everything that was checked. Raises ``FileNotFoundError``."""
    parts = [json.dumps([list(_FILES), sorted(set(sans))]).encode()]
    parts += ((directory / name).read_bytes() for name in _FILES)
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d:" % len(part) + part)
    return found.hexdigest()
