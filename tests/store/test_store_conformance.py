"""Every driver in the drivers folder keeps the promises of the store interface; none is named here."""

from __future__ import annotations

import importlib
import os
import random
from pathlib import Path

import pytest

from sublet.store import drivers
from sublet.store.conformance import CHECKS, DURABLE_CHECKS, PromiseBroken
from sublet.store.crash import crash_round
from sublet.store.interface import Store, StoreError
from sublet.store.open import driver_names, open_store

SOAK = int(os.environ.get("SUBLET_SOAK", "0"))


def conformance_url(driver: str, folder: Path) -> str:
    """A driver that keeps data in files says so by ``file_url(path)``; one on a server needs SUBLET_TEST_<NAME>."""
    module = importlib.import_module(f"{drivers.__name__}.{driver}")
    if hasattr(module, "file_url"):
        return str(module.file_url(folder / "state.db"))
    if not getattr(module, "NEEDS_SERVER", False):
        return f"{driver}://"
    url = os.environ.get(f"SUBLET_TEST_{driver.upper()}")
    if not url:
        pytest.skip(f"set SUBLET_TEST_{driver.upper()} to the URL of an empty {driver} data store")
    return url


def durable(driver: str) -> bool:
    module = importlib.import_module(f"{drivers.__name__}.{driver}")
    return hasattr(module, "file_url") or bool(getattr(module, "NEEDS_SERVER", False))


DURABLE = [driver for driver in driver_names() if durable(driver)]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("driver", driver_names())
async def test_driver_keeps(driver: str, check: str, tmp_path: Path) -> None:
    store = await open_store(conformance_url(driver, tmp_path))
    try:
        await CHECKS[check](store)
    finally:
        await store.close()


@pytest.mark.parametrize("check", DURABLE_CHECKS)
@pytest.mark.parametrize("driver", DURABLE)
async def test_durable_driver_keeps(driver: str, check: str, tmp_path: Path) -> None:
    url = conformance_url(driver, tmp_path)
    opened: list[Store] = []

    async def reopen() -> Store:
        opened.append(await open_store(url))
        return opened[-1]

    try:
        await DURABLE_CHECKS[check](reopen)
    finally:
        for store in opened:
            await store.close()


@pytest.mark.parametrize("driver", DURABLE)
async def test_nothing_acknowledged_is_lost_by_kill_9(driver: str, tmp_path: Path) -> None:
    """Ten rounds on the same data, then anew; SUBLET_SOAK sets how many, SUBLET_SEED repeats a failed run."""
    seed = int(os.environ.get("SUBLET_SEED") or random.randrange(1 << 30))
    for number in range(SOAK or 3):
        if number % 10 == 0:  # each round reads all that is there
            (directory := tmp_path / str(number)).mkdir()
            url = conformance_url(driver, directory)
        print(f"round {number}: SUBLET_SEED={seed + number}")
        print("acknowledged:", await crash_round(url, seed + number))


async def test_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(StoreError, match=r"paper://.*memory:.*sqlite:"):
        await open_store("paper://shelf")


async def test_the_suite_notices_a_driver_that_loses_a_compare_and_swap() -> None:
    store = await open_store("memory://")

    class Careless:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def update(self, key: str, value: bytes, expected: int) -> int:
            entry = await store.get(key)
            return await store.update(key, value, entry.revision if entry else expected)

    with pytest.raises(PromiseBroken, match="update at an old revision must raise RevisionMismatch"):
        await CHECKS["update"](Careless())  # type: ignore[arg-type]
    await store.close()
