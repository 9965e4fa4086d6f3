"""Finds the plug-ins: every file of ``plugins/`` states one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from sublet.machinery.status import BadRequest
from sublet.scheduler import plugins
from sublet.scheduler.framework import Plugin, Profile
from sublet.scheduler.podinfo import DEFAULT_SCHEDULER

_ORDER = (
    "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
    "VolumeBinding", "PodTopologySpread", "InterPodAffinity",
)  # fmt: skip
"""Upstream's order, cheap filters first; others follow by name."""


def load() -> tuple[Plugin, ...]:
    """All plug-ins, in the order in which they are asked."""
    found: list[Plugin] = [
        importlib.import_module(f"{plugins.__name__}.{module.name}").PLUGIN
        for module in pkgutil.iter_modules(plugins.__path__)
    ]
    place = {name: number for number, name in enumerate(_ORDER)}
    return tuple(sorted(found, key=lambda plugin: (place.get(plugin.name, len(place)), plugin.name)))


def profiles(stated: Iterable[Mapping[str, Any]] = ()) -> dict[str, Profile]:
    """Profiles by ``schedulerName``, as in a KubeSchedulerConfiguration's ``profiles``; by default one with all.

    Each may state ``plugins.multiPoint.disabled`` (or ``filter``, ``score``) with names, ``*`` for all. Raises
    ``BadRequest`` for a name that is no plug-in's.
    """
    everything = load()
    found: dict[str, Profile] = {}
    for entry in [*stated] or [{}]:
        name = str(entry.get("schedulerName") or DEFAULT_SCHEDULER)
        off = _disabled(entry, everything)
        kept = tuple(plugin for plugin in everything if plugin.name not in off)
        found[name] = Profile(name, kept, preemption="DefaultPreemption" not in off)
    return found


def _disabled(entry: Mapping[str, Any], everything: Iterable[Plugin]) -> set[str]:
    known = {plugin.name for plugin in everything} | {"DefaultPreemption"}
    off: set[str] = set()
    for point in (entry.get("plugins") or {}).values():
        for disabled in point.get("disabled") or ():
            if disabled["name"] == "*":
                off |= known
            elif disabled["name"] not in known:
                raise BadRequest(
                    f'there is no scheduler plug-in "{disabled["name"]}" (known: {", ".join(sorted(known))})'
                )
            else:
                off.add(disabled["name"])
        off -= {enabled["name"] for enabled in point.get("enabled") or ()}
    return off
