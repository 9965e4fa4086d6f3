"""Keeping container logs small: moved aside when too large, compressed, the oldest removed."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
import time
from pathlib import Path

from sublet.node import logs
from sublet.node.cri import CRI, CRIError
from sublet.node.runtime import RunningContainer
from sublet.node.settings import NodeSettings

log = logging.getLogger(__name__)


async def rotate(cri: CRI, container: RunningContainer, settings: NodeSettings) -> None:
    """Rotates the log of a running container when it is larger than the settings allow."""
    path = Path(container.log_path)
    try:
        if not container.log_path or path.stat().st_size <= settings.log_max_bytes:
            return
        await asyncio.to_thread(_make_room, path, settings.log_max_files)
        aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
        path.rename(aside)
    except OSError as error:
        log.warning("cannot rotate %s: %s", path, error.strerror)
        return
    try:
        await cri.reopen_log(container.id)
    except CRIError as error:
        # the runtime still writes into the old file: it must keep its name
        log.warning("cannot reopen %s: %s", path, error.message)
        aside.rename(path)


def _make_room(path: Path, files: int) -> None:
    """Compresses what an earlier rotation left (its readers are done) and keeps ``files - 2`` of them."""
    for old in logs.rotated(path):
        if old.suffix != ".gz":
            packed = old.with_name(f"{old.name}.gz.tmp")
            with old.open("rb") as source, gzip.open(packed, "wb") as target:
                shutil.copyfileobj(source, target)
            packed.rename(old.with_name(f"{old.name}.gz"))
            old.unlink()
    kept = logs.rotated(path)
    for old in kept[: max(len(kept) - (files - 2), 0)]:
        old.unlink()
