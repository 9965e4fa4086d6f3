"""How fast a recommendation may be followed: stabilization windows and rate policies. Pure but for its memory.

Source: HorizontalPodAutoscalerBehavior in autoscaling/v2. Without a behavior, what is there at most doubles (or
becomes 4), and the highest recommendation of the last five minutes holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_FASTEST = {"type": "Percent", "value": 100, "periodSeconds": 15}
_UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, _FASTEST],
}  # fmt: skip
_DOWN: Mapping[str, Any] = {"stabilizationWindowSeconds": 300, "selectPolicy": "Max", "policies": [_FASTEST]}
_LONGEST = 3600.0


@dataclass
class Memory:
    """What one autoscaler has recommended and done: (time, replicas)."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)
    removed: list[tuple[float, int]] = field(default_factory=list)

    def scaled(self, now: float, before: int, after: int) -> None:
        (self.added if after > before else self.removed).append((now, abs(after - before)))

    def forget(self, now: float) -> None:
        for part in (self.recommendations, self.added, self.removed):
            part[:] = [(time, number) for time, number in part if time > now - _LONGEST]


@dataclass(frozen=True)
class Decision:
    """What to scale to, and the conditions AbleToScale and ScalingLimited: (status, reason, message)."""

    replicas: int
    able: tuple[str, str, str]
    limited: tuple[str, str, str]


def decide(
    behavior: Mapping[str, Any] | None, memory: Memory, now: float, current: int, wanted: int,
    least: int, most: int,
) -> Decision:  # fmt: skip
    if behavior is None:
        return _plain(memory, now, current, wanted, least, most)
    up = {**_UP, **(behavior.get("scaleUp") or {})}
    down = {**_DOWN, **(behavior.get("scaleDown") or {})}
    stable, able = _stabilized(up, down, memory, now, current, wanted)
    if stable > current:
        limit = max(current, _limit(up, memory, now, current, rising=True))
        if limit >= most:
            high, reason, message = most, "TooManyReplicas", _MANY
        else:
            high, reason, message = limit, "ScaleUpLimit", _FAST_UP
        if stable > high:
            return Decision(high, able, ("True", reason, message))
    elif stable < current:
        limit = min(current, _limit(down, memory, now, current, rising=False))
        if limit <= least:
            low, reason, message = least, "TooFewReplicas", _FEW
        else:
            low, reason, message = limit, "ScaleDownLimit", _FAST_DOWN
        if stable < low:
            return Decision(low, able, ("True", reason, message))
    if stable < least:
        return Decision(least, able, ("True", "TooFewReplicas", _FEW))
    return Decision(stable, able, _WITHIN)


_WITHIN = ("False", "DesiredWithinRange", "the desired count is within the acceptable range")
_MANY = "the desired replica count is more than the maximum replica count"
_FEW = "the desired replica count is less than the minimum replica count"
_FAST_UP = "the desired replica count is increasing faster than the maximum scale rate"
_FAST_DOWN = "the desired replica count is decreasing faster than the maximum scale rate"


def _plain(memory: Memory, now: float, current: int, wanted: int, least: int, most: int) -> Decision:
    """Without a behavior."""
    memory.recommendations.append((now, wanted))
    stable = max(_within(memory.recommendations, now, _DOWN["stabilizationWindowSeconds"]), default=wanted)
    able = _READY if stable == wanted else ("True", "ScaleDownStabilized", _RECENTLY_HIGHER)
    fastest = max(2 * current, 4)
    if stable < least:
        return Decision(least, able, ("True", "TooFewReplicas", _FEW))
    if stable > min(most, fastest):
        reason, message = ("ScaleUpLimit", _FAST_UP) if most > fastest else ("TooManyReplicas", _MANY)
        return Decision(min(most, fastest), able, ("True", reason, message))
    return Decision(stable, able, _WITHIN)


_READY = ("True", "ReadyForNewScale", "recommended size matches current size")
_RECENTLY_HIGHER = (
    "recent recommendations were higher than current one, applying the highest recent recommendation"
)


def _stabilized(
    up: Mapping[str, Any], down: Mapping[str, Any], memory: Memory, now: float, current: int, wanted: int
) -> tuple[int, tuple[str, str, str]]:
    """The recommendation nearest to what is there among those of the windows."""
    memory.recommendations.append((now, wanted))
    low = min(_within(memory.recommendations, now, up["stabilizationWindowSeconds"]), default=wanted)
    high = max(_within(memory.recommendations, now, down["stabilizationWindowSeconds"]), default=wanted)
    stable = min(max(current, low), high)
    if stable == wanted:
        return stable, _READY
    if wanted < stable:
        return stable, ("True", "ScaleDownStabilized", _RECENTLY_HIGHER)
    text = "recent recommendations were lower than current one, applying the lowest recent recommendation"
    return stable, ("True", "ScaleUpStabilized", text)


def _within(entries: Iterable[tuple[float, int]], now: float, seconds: float) -> list[int]:
    return [number for time, number in entries if time > now - seconds]


def _limit(rules: Mapping[str, Any], memory: Memory, now: float, current: int, *, rising: bool) -> int:
    """How far the policies let it go from here."""
    if rules["selectPolicy"] == "Disabled":
        return current
    limits = []
    for policy in rules["policies"]:
        period = policy["periodSeconds"]
        start = current - sum(_within(memory.added, now, period)) + sum(_within(memory.removed, now, period))
        value = policy["value"]
        if not rising:
            value = -value
        if policy["type"] == "Pods":
            limits.append(start + value)
        elif rising:
            limits.append(math.ceil(start * (1 + value / 100)))
        else:
            limits.append(math.floor(start * (1 + value / 100)))
    farthest = (max if rising else min) if rules["selectPolicy"] == "Max" else (min if rising else max)
    return farthest(limits, default=current)
