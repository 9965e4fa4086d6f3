"""Opens a data store by its URL. A driver is the module of ``store/drivers`` named like the URL's scheme."""

from __future__ import annotations

import importlib
import pkgutil
from urllib.parse import urlsplit

from sublet.store import drivers
from sublet.store.interface import Store, StoreError


def driver_names() -> list[str]:
    """The schemes that :func:`open_store` knows: every module in the drivers folder."""
    return sorted(module.name for module in pkgutil.iter_modules(drivers.__path__))


async def open_store(url: str) -> Store:
    """Opens for example ``sqlite:///var/lib/sublet/state.db`` or ``memory://``.

    Raises :class:`StoreError` for an unknown scheme, otherwise what the driver raises.
    """
    scheme = urlsplit(url).scheme
    if scheme not in driver_names():
        known = ", ".join(f"{name}:" for name in driver_names())
        raise StoreError(f"data store URL {url!r} has no known scheme; it must begin with one of {known}")
    driver = importlib.import_module(f"{drivers.__name__}.{scheme}")
    store: Store = await driver.open(url)
    return store
