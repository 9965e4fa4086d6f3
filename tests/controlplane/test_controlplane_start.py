"""What a control plane loads before it is ready: each of these costs milliseconds that every start would pay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import asyncio, gc, sys
from pathlib import Path
from sublet.controlplane.run import RunSettings, start

async def main():
    plane = await start(RunSettings(data_dir=Path(sys.argv[1]), port=0))
    loaded = sorted(sys.modules)
    assert gc.isenabled() and gc.get_freeze_count() > 10_000
    await plane.stop()
    print(*loaded, sep="\\n")

gc.disable()
asyncio.run(main())
"""
# The collector is switched off while code is loaded, as the command does it, and is back afterwards.
LATER = (
    "aiohttp", "cryptography", "html.parser", "importlib.resources", "jwt", "sqlite3.dump", "yaml",
    "sublet.apiserver.crd_validation", "sublet.apiserver.customkinds", "sublet.controllers.deployment",
    "sublet.machinery.cel.parser", "sublet.node.joining", "sublet.pki.authority", "sublet.reconcile.controller",
    "sublet.scheduler.scheduler", "sublet.syncer.engine",
)  # fmt: skip


def loaded(directory: Path) -> frozenset[str]:
    """The modules that were loaded when a control plane had become ready."""
    command = [sys.executable, "-c", START, str(directory)]
    ran = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return frozenset(ran.stdout.split())


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """What a start on an existing store loads."""
    directory = tmp_path_factory.mktemp("started")
    loaded(directory)
    return loaded(directory)


@pytest.mark.parametrize("module", LATER)
def test_is_loaded_when_it_is_needed_and_not_before_it_is_ready(again: frozenset[str], module: str) -> None:
    assert "sublet.apiserver.api" in again
    assert module not in again


def test_records_of_the_api_server_are_no_dataclasses_whose_methods_are_compiled_at_every_start(
    again: frozenset[str],
) -> None:
    rooms = ("machinery", "kinds", "store", "client", "pki", "apiserver", "controlplane")
    source = Path(__file__).parents[2] / "src"
    stated = []
    for module in again:
        if module.startswith("sublet.") and module.split(".")[1] in rooms:
            file = source.joinpath(*module.split(".")).with_suffix(".py")
            if file.exists() and "@dataclass" in file.read_text():
                stated.append(module)
    assert stated == []
