"""Finds the plug-ins: every file of ``plugins/`` states one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sublet.machinery.status import BadRequest
from sublet.scheduler import plugins
from sublet.scheduler.framework import Plugin, Profile
from sublet.scheduler.podinfo import DEFAULT_SCHEDULER

_ORDER = (
    "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
    "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "DynamicResources", "PodTopologySpread", "InterPodAffinity",
)  # fmt: skip
"""Upstream's order, cheap filters first; others follow by name."""
_POINTS = ("multiPoint", "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve",
           "permit", "preBind", "bind", "postBind")  # fmt: skip
_BUILT_IN = ("DefaultPreemption", "DefaultBinder", "PrioritySort", "SchedulingGates")
"""Upstream's plug-ins that are steps of the scheduler itself here; only preemption can be switched off."""
_WITHOUT_EFFECT = ("DefaultPreemption", "VolumeBinding", "DynamicResources")
"""Their args tune upstream's searches (sample sizes, time limits), not what is decided."""


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

    Each may state ``plugins`` (per extension point ``enabled`` with ``weight``, and ``disabled``, ``*`` for all) and
    ``pluginConfig`` (``name``, ``args``). Raises ``BadRequest`` for what is not there, by name.
    """
    everything = load()
    found: dict[str, Profile] = {}
    for entry in [*stated] or [{}]:
        name = str(entry.get("schedulerName") or DEFAULT_SCHEDULER)
        if name in found:
            raise BadRequest(f'the profile "{name}" is stated twice')
        found[name] = _profile(name, entry, everything)
    return found


def _profile(name: str, entry: Mapping[str, Any], everything: Sequence[Plugin]) -> Profile:
    choices = {plugin.name: _Choice() for plugin in everything}
    preemption = True
    for point, sets in (entry.get("plugins") or {}).items():
        if point not in _POINTS:
            raise BadRequest(f'plugins: there is no extension point "{point}" (known: {", ".join(_POINTS)})')
        for plugin in _names(sets.get("disabled"), choices):
            if plugin == "DefaultPreemption":
                preemption = point not in ("multiPoint", "postFilter") and preemption
            elif plugin in choices:
                choices[plugin].set(point, False)
        for stated in sets.get("enabled") or ():
            plugin = _known(str(stated.get("name") or ""), choices)
            if plugin == "DefaultPreemption":
                preemption = True
            elif plugin in choices:
                choices[plugin].set(point, True)
                choices[plugin].weight = int(stated.get("weight") or 0) or choices[plugin].weight
    configured = _configured(entry.get("pluginConfig") or (), everything)
    chosen = [choices[plugin.name].apply(plugin) for plugin in configured]
    return Profile(name, tuple(plugin for plugin in chosen if plugin is not None), preemption)


@dataclass(slots=True)
class _Choice:
    """Which parts of one plug-in a profile uses."""

    filters: bool = True
    scores: bool = True
    weight: int = 0
    """0: the plug-in's own."""

    def set(self, point: str, on: bool) -> None:
        if point in ("multiPoint", "preFilter", "filter"):
            self.filters = on
        if point in ("multiPoint", "preScore", "score"):
            self.scores = on

    def apply(self, plugin: Plugin) -> Plugin | None:
        if self.weight:
            plugin = replace(plugin, weight=self.weight)
        if not self.scores:
            plugin = replace(plugin, score=None)
        if not self.filters:
            plugin = replace(plugin, filter=None, bind=None)
        return plugin if plugin.filter or plugin.score or plugin.bind else None


def _known(name: str, choices: Mapping[str, _Choice]) -> str:
    if name in choices or name in _BUILT_IN:
        return name
    known = ", ".join(sorted({*choices, *_BUILT_IN}))
    raise BadRequest(f'there is no scheduler plug-in "{name}" (known: {known})')


def _names(disabled: Iterable[Mapping[str, Any]] | None, choices: Mapping[str, _Choice]) -> Iterator[str]:
    for stated in disabled or ():
        if stated.get("name") == "*":
            yield from (*choices, "DefaultPreemption")
        else:
            yield _known(str(stated.get("name") or ""), choices)


def _configured(stated: Iterable[Mapping[str, Any]], everything: Sequence[Plugin]) -> list[Plugin]:
    made = {plugin.name: plugin for plugin in everything}
    for each in stated:
        name, args = str(each.get("name") or ""), each.get("args") or {}
        if name not in made:
            if name in _BUILT_IN or name in _WITHOUT_EFFECT:
                continue
            raise BadRequest(
                f'pluginConfig: there is no scheduler plug-in "{name}" (known: {", ".join(sorted(made))})'
            )
        configure = made[name].configure
        if configure is None:
            if name in _WITHOUT_EFFECT:
                continue
            raise BadRequest(f'pluginConfig: the scheduler plug-in "{name}" takes no args')
        try:
            made[name] = configure(args)
        except (ValueError, TypeError, KeyError) as error:
            raise BadRequest(f"pluginConfig: {name}: {error}") from None
    return list(made.values())
