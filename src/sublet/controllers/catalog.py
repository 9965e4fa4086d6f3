"""All controllers, found by walking this package: a module (or package) that states ``CONTROLLER`` is one."""

from __future__ import annotations

import importlib
import pkgutil

from sublet.reconcile.manager import Registration


def load() -> list[Registration]:
    """Every controller, by name. Raises ``ValueError`` where two have the same name."""
    package = importlib.import_module("sublet.controllers")
    found: dict[str, Registration] = {}
    for entry in pkgutil.iter_modules(package.__path__, "sublet.controllers."):
        registration = getattr(importlib.import_module(entry.name), "CONTROLLER", None)
        if not isinstance(registration, Registration):
            continue
        if registration.name in found:
            raise ValueError(f"two controllers are named {registration.name!r}")
        found[registration.name] = registration
    return [found[name] for name in sorted(found)]
