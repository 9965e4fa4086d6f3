"""Kubernetes' feature gates: what is on in which minor, from ``data/feature-gates.tsv``.

A line of the table is a gate and its stages: from which minor on it is alpha, beta, GA or deprecated (``a b g d``; in
capitals where it is on by default), ``!`` where that cannot be changed, and ``-`` from where it is not known any more;
then the gates without which it cannot be on. Source: ``kube_features.go`` of Kubernetes and its libraries,
``versioned_feature_list.yaml``, and the pages of kubernetes.io on gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from msgspec import Struct

from sublet.kinds import resources

_STAGES = {"a": "ALPHA", "b": "BETA", "g": "", "d": "DEPRECATED"}
"""Letter -> the stage as metrics name it; GA has no name."""
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_GROUPS = {"AllAlpha": "ALPHA", "AllBeta": "BETA"}
_FIRST_WITH_NEEDS = 35
"""The minor 1.35 is the first that looks whether what a gate needs is on."""


class Gate(Struct, frozen=True):
    """A feature gate in one minor."""

    name: str
    default: bool
    stage: str
    """``ALPHA``, ``BETA``, ``DEPRECATED``; GA is empty."""
    locked: bool = False


class FeatureError(ValueError):
    """Gates that cannot be set as stated; the message is Kubernetes'."""


class Features(Struct, frozen=True):
    """What is on: the defaults of a minor, and what was stated against them."""

    minor: str
    stated: Mapping[str, bool]

    def enabled(self, name: str) -> bool:
        """False for a gate that the minor does not know yet; what it does not know any more is as it was last."""
        if name in self.stated:
            return self.stated[name]
        found = _latest(name, self.minor)
        return found is not None and found.default

    def gates(self) -> Iterator[tuple[Gate, bool]]:
        """Every gate that the minor knows, those of whole stages among them, and whether it is on; by name."""
        groups = {name: Gate(name, False, stage) for name, stage in _GROUPS.items()}
        for name, gate in sorted((groups | dict(known(self.minor))).items()):
            yield gate, self.stated.get(name, gate.default)


def defaults(minor: str) -> Features:
    """What is on in a minor unless something else is stated."""
    return Features(minor, {})


def parse(stated: Sequence[str], minor: str) -> Features:
    """From ``NAME=true`` and ``NAME=false``; of several mentions the last counts. Raises :class:`FeatureError`."""
    gates = known(minor)
    asked: dict[str, bool] = {}
    for each in stated:
        name, equals, value = (part.strip() for part in each.partition("="))
        if not name:
            continue
        if not equals:
            raise FeatureError(f"missing bool value for {name}")
        if value not in (*_TRUE, *_FALSE):
            raise FeatureError(
                f'invalid value of {name}={value}, err: strconv.ParseBool: parsing "{value}": invalid syntax'
            )
        asked[name] = value in _TRUE
    found: dict[str, bool] = {}
    for group, stage in _GROUPS.items():
        if group in asked:
            value_ = asked.pop(group)
            found |= {gate.name: value_ for gate in gates.values() if gate.stage == stage and not gate.locked}
    problems = []
    for name, on in asked.items():
        gate = gates.get(name)
        if gate is None:
            problems.append(f"unrecognized feature gate: {name}")
            break
        if gate.locked and on != gate.default:
            what = f"{str(on).lower()}, feature is locked to {str(gate.default).lower()}"
            problems.append(f"cannot set feature gate {name} to {what}")
        found[name] = on
    chosen = Features(minor, found)
    problems = problems or list(_lacking(chosen))
    if problems:
        raise FeatureError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
    return chosen


def _lacking(chosen: Features) -> Iterator[str]:
    """What is on although something that it needs is off."""
    if _number(chosen.minor) < _FIRST_WITH_NEEDS:
        return
    for gate, on in chosen.gates():
        needs = _table()[gate.name].needs if on and gate.name not in _GROUPS else ()
        if off := [each for each in needs if not chosen.enabled(each)]:
            yield f"{gate.name} is enabled, but depends on features that are disabled: [{' '.join(off)}]"


@cache
def known(minor: str) -> Mapping[str, Gate]:
    """The gates that a minor knows, by name."""
    return {
        name: gate
        for name in _table()
        if (gate := _latest(name, minor)) is not None and not _gone(name, minor)
    }


class _Line(Struct, frozen=True):
    """A line of the table."""

    stages: tuple[str, ...]
    needs: tuple[str, ...]


@cache
def _table() -> Mapping[str, _Line]:
    lines = resources.table("feature-gates.tsv")[1:]
    return {name: _Line(tuple(stages.split()), tuple(needs.split())) for name, stages, needs in lines}


def _number(minor: str) -> int:
    return int(minor.partition(".")[2])


def _gone(name: str, minor: str) -> bool:
    last = _table()[name].stages[-1]
    return last.endswith("-") and _number(last[:-1]) <= _number(minor)


def _latest(name: str, minor: str) -> Gate | None:
    """The last stage that a gate has reached in a minor; None before its first."""
    found = None
    line = _table().get(name)
    for stage in line.stages if line else ():
        text = stage.rstrip("!")
        if text.endswith("-") or _number(text[:-1]) > _number(minor):
            break
        found = Gate(name, text[-1].isupper(), _STAGES[text[-1].lower()], stage.endswith("!"))
    return found
