"""Rules of how objects and controllers are referred to."""

from __future__ import annotations

import re

from sublet.kinds.rules.common import Errors, named
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required

_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_is_path = re.compile(_PATH).fullmatch


def domain_path(path: str, value: str) -> Errors:
    """``DOMAIN/PATH``: names of controllers."""
    if not value:
        yield required(path)
        return
    domain, _, rest = value.partition("/")
    if not domain or not rest:
        yield invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    for text in names.dns1123_subdomain(domain):
        yield invalid(path, domain, text)
    if not _is_path(rest):
        yield invalid(path, rest, names.regex_message("Invalid path", _PATH))


def typed_reference(path: str, reference: Object) -> Errors:
    """Group, kind and name of some object."""
    if (group := reference.get("apiGroup")) is not None:
        yield from named(f"{path}.apiGroup", group, names.dns1123_subdomain)
    for field in ("kind", "name"):
        if not (value := reference.get(field)):
            yield required(f"{path}.{field}", f"{field} is required")
        else:
            yield from named(f"{path}.{field}", value, names.path_segment)
