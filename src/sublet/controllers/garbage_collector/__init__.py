"""garbage-collector-controller: deletes what lost its owners, in the background, in the foreground, or orphans it."""

from __future__ import annotations

from sublet.controllers.garbage_collector.collector import GarbageCollector
from sublet.reconcile.manager import Context, Registration


def setup(context: Context) -> GarbageCollector:
    return GarbageCollector(context)


CONTROLLER = Registration("garbage-collector-controller", setup, service_account="generic-garbage-collector")
